"""``/v1/compare``: two pictures side by side."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Query as Parameter
from pydantic import Field
from starlette.datastructures import FormData

from query_api.answers import Answer, Image, VerifiedMatch, image_of, unverified_of, verified_of
from query_api.errors import InvalidRequest
from query_api.http.dependencies import TheBodyReader, TheLinks, TheModels, TheQueries
from query_api.http.links import Links
from query_api.http.parameters import OneVerifier
from query_api.http.problems import documented
from query_api.http.uploads import BodyReader, read_form
from query_api.pictures.remembered import PREFIX
from query_api.pictures.uploaded import Upload
from query_api.pictures.verification import Unverified
from query_api.search.compare import Comparison, compare
from query_api.search.live_model import Model
from query_api.search.queries import Queries, Query
from schemas.records import IMAGE_ID_PATTERN
from schemas.similarity import Verdict

router = APIRouter(prefix="/v1/compare", tags=["search"])


class Side(Answer):
    """One of the two pictures; `image` where it is an indexed one."""

    image: Image | None
    sha256: str | None
    width: int | None
    height: int | None
    format: str | None


class CompareAnswer(Answer):
    """How two pictures relate."""

    score: float = Field(ge=0, le=100)
    distance: float = Field(ge=0, le=4)
    verdict: Verdict
    likely_copy: bool = Field(description="`similar`, with a score of a copy, and could not be verified.")
    verified: VerifiedMatch | None = Field(
        description="What local features say of `a` (the query) and `b`, if asked for."
    )
    unverified: Unverified | None = Field(description="Why `verified` is null.")
    a: Side
    b: Side
    model: str
    copy_threshold: float


_PART = {
    "type": "string",
    "format": "binary",
    "description": "A file, or as plain text an indexed image's id or an upload's name.",
}
_BODY: dict[str, Any] = {
    "required": True,
    "description": "`a` and `b`, each a file, the id of an indexed image, or the name of a remembered upload.",
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["a", "b"], "properties": {"a": _PART, "b": _PART}}
        }
    },
}
ImageId = Annotated[str, Parameter(description="An image's id.", pattern=IMAGE_ID_PATTERN)]


@router.get("", response_model=CompareAnswer, responses=documented(404, 409, 422), summary="Compare indexed images")
async def compare_images(
    a: ImageId, b: ImageId, models: TheModels, queries: TheQueries, verifier: OneVerifier, links: TheLinks
) -> CompareAnswer:
    """Compare two indexed images by the vectors that are stored for them."""
    model = await models.current()
    one, other = await queries.of_image(a, model), await queries.of_image(b, model)
    return _answer(await compare(one, other, model, verifier), links)


@router.post(
    "",
    response_model=CompareAnswer,
    responses=documented(400, 404, 408, 409, 410, 413, 415, 422),
    openapi_extra={"requestBody": _BODY},
    summary="Compare pictures",
)
async def compare_uploads(
    request: Request,
    body: TheBodyReader,
    models: TheModels,
    queries: TheQueries,
    verifier: OneVerifier,
    links: TheLinks,
) -> CompareAnswer:
    """Compare two pictures: uploads, indexed images, or one of each."""
    async with read_form(request, max_files=2) as form:
        a, b = [await _side(form, name, body) for name in ("a", "b")]
    model = await models.current()
    one, other = await _query(a, queries, model), await _query(b, queries, model)
    return _answer(await compare(one, other, model, verifier), links)


async def _side(form: FormData, name: str, body: BodyReader) -> Upload | str:
    values = form.getlist(name)
    if len(values) != 1:
        raise InvalidRequest(f"Send `{name}` once: a file, or the id of an indexed image.", field=f"body.{name}")
    if isinstance(values[0], str):
        return values[0].strip()
    files = await body.files(form, name)
    if not files:
        raise InvalidRequest(f"No file was chosen for `{name}`.", field=f"body.{name}")
    return files[0]


async def _query(side: Upload | str, queries: Queries, model: Model) -> Query:
    if isinstance(side, str):
        by_name = queries.of_remembered if side.startswith(PREFIX) else queries.of_image
        return await by_name(side, model)
    [query] = await queries.of_uploads([side], model)
    return query


def _answer(compared: Comparison, links: Links) -> CompareAnswer:
    return CompareAnswer(
        score=compared.score,
        distance=compared.distance,
        verdict=compared.verdict,
        likely_copy=compared.likely,
        verified=verified_of(compared.verification),
        unverified=unverified_of(compared.verification),
        a=_shown(compared.one, links),
        b=_shown(compared.other, links),
        model=compared.model.embedder.model_id,
        copy_threshold=compared.model.copy_threshold,
    )


def _shown(query: Query, links: Links) -> Side:
    found = query.image
    return Side(
        image=image_of(found.image, found.content, links) if found else None,
        sha256=query.sha256,
        width=query.width,
        height=query.height,
        format=query.format,
    )
