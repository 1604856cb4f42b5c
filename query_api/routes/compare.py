"""``/v1/compare``: two pictures side by side."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Query as Parameter
from pydantic import Field

from query_api import queries
from query_api.answers import Answer, Image, image_of
from query_api.compare import compare
from query_api.errors import InvalidRequest
from query_api.live_model import Model
from query_api.problems import documented
from query_api.queries import Query
from query_api.services import Services, Using
from query_api.uploads import Upload, read_files, read_form
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
    a: Side
    b: Side
    model: str
    copy_threshold: float


_PART = {"type": "string", "format": "binary", "description": "A file, or as plain text the id of an indexed image."}
_BODY: dict[str, Any] = {
    "required": True,
    "description": "`a` and `b`, each a file or the id of an indexed image.",
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["a", "b"], "properties": {"a": _PART, "b": _PART}}
        }
    },
}
ImageId = Annotated[str, Parameter(description="An image's id.", pattern="^[0-9a-f]{32}$")]


@router.get("", response_model=CompareAnswer, responses=documented(404, 409, 422), summary="Compare indexed images")
async def compare_images(a: ImageId, b: ImageId, services: Using) -> CompareAnswer:
    """Compare two indexed images by the vectors that are stored for them."""
    return await _compared(a, b, services)


@router.post(
    "",
    response_model=CompareAnswer,
    responses=documented(400, 404, 408, 409, 413, 415, 422),
    openapi_extra={"requestBody": _BODY},
    summary="Compare pictures",
)
async def compare_uploads(request: Request, services: Using) -> CompareAnswer:
    """Compare two pictures: uploads, indexed images, or one of each."""
    async with read_form(request, max_files=2) as form:
        sides = [await _side(form, name, services) for name in ("a", "b")]
    return await _compared(sides[0], sides[1], services)


async def _side(form: Any, name: str, services: Services) -> Upload | str:
    values = form.getlist(name)
    if len(values) != 1:
        raise InvalidRequest(f"Send `{name}` once: a file, or the id of an indexed image.", field=f"body.{name}")
    if isinstance(values[0], str):
        return values[0].strip()
    files = await read_files(form, name, max_bytes=services.limits.max_bytes)
    if not files:
        raise InvalidRequest(f"No file was chosen for `{name}`.", field=f"body.{name}")
    return files[0]


async def _compared(a: Upload | str, b: Upload | str, services: Services) -> CompareAnswer:
    model = await services.ports.model.current()
    sides = [await _query(each, services, model) for each in (a, b)]
    result = compare(sides[0], sides[1], model)
    return CompareAnswer(
        score=result.score,
        distance=result.distance,
        verdict=result.verdict,
        a=_shown(sides[0], services),
        b=_shown(sides[1], services),
        model=model.embedder.model_id,
        copy_threshold=model.copy_threshold,
    )


def _query(side: Upload | str, services: Services, model: Model) -> Awaitable[Query]:
    if isinstance(side, str):
        return queries.from_image(side, services)
    return _uploaded(side, services, model)


async def _uploaded(upload: Upload, services: Services, model: Model) -> Query:
    [query] = await queries.from_uploads([upload], services, model)
    return query


def _shown(query: Query, services: Services) -> Side:
    found = query.image
    return Side(
        image=image_of(found.image, found.content, services.links) if found else None,
        sha256=query.sha256,
        width=query.width,
        height=query.height,
        format=query.format,
    )
