"""``POST /v1/search`` and ``GET /v1/images/{id}/similar``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi import Query as Parameter
from pydantic import Field

from query_api.answers import SearchAnswer, search_answer
from query_api.errors import InvalidRequest
from query_api.http.dependencies import TheBodyReader, TheLinks, TheModels, TheQueries, TheSearch
from query_api.http.named_queries import ByImage, ByKey, ByUpload, ByUrl, ByVector, NamedQuery, parse_queries
from query_api.http.parameters import Options, SimilarOptions
from query_api.http.problems import documented
from query_api.http.uploads import BodyReader, media_type
from query_api.pictures.uploaded import Upload
from query_api.search.live_model import Model
from query_api.search.queries import Queries, Query, from_vector
from schemas.records import SHA256_PATTERN

router = APIRouter(prefix="/v1", tags=["search"])

_BINARY = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {
    "required": True,
    "description": "One picture or several as a form, one picture as the body itself, or queries as JSON.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "array", "minItems": 1, "items": _BINARY}},
            }
        },
        "image/*": {"schema": _BINARY},
        "application/octet-stream": {"schema": _BINARY},
        "application/json": {
            "schema": {"$ref": "#/components/schemas/NamedQueries"},
            "example": {"queries": [{"image_id": "3f2a9c0d5e6b7a8190a1b2c3d4e5f607"}]},
        },
    },
}
OriginalSha256 = Annotated[
    tuple[Annotated[str, Field(pattern=SHA256_PATTERN)], ...],
    Parameter(
        description="Of pictures that were scaled down before they were sent, the SHA-256 of each one's file, in "
        "order: hits with these bytes are `exact`.",
        max_length=64,
    ),
]
_PROBLEMS = documented(400, 403, 404, 408, 409, 410, 413, 415, 422)


@router.post(
    "/search",
    response_model=SearchAnswer,
    response_model_exclude_none=False,
    responses=_PROBLEMS,
    openapi_extra={"requestBody": _BODY},
    summary="Search by picture, image, URL or vector",
)
async def search_by_body(
    *,
    request: Request,
    options: Options,
    body: TheBodyReader,
    models: TheModels,
    queries: TheQueries,
    search: TheSearch,
    links: TheLinks,
    original_sha256: OriginalSha256 = (),
    remember: Annotated[
        bool, Parameter(description="Name each picture (`queries[].upload`), for further requests.")
    ] = False,
    preview: Annotated[bool, Parameter(description="Also answer with a small JPEG of each picture.")] = False,
) -> SearchAnswer:
    """Find what looks like the given pictures. Exact copies come first, then the rest by score."""
    begun = time.perf_counter()
    given = await _read(request, body, original_sha256)
    model = await models.current()
    pictures = await _queries(given, queries, model, parts=options.parts)
    if preview:
        pictures = await queries.with_previews(pictures)
    if remember:
        pictures = [queries.remember(query) for query in pictures]
    found = await search.found(pictures, options, model, request.state.client)
    return search_answer(found, links, begun)


@router.get(
    "/images/{image_id}/similar",
    response_model=SearchAnswer,
    responses=documented(404, 409, 422),
    summary="Search by an indexed image",
)
async def similar(
    *,
    image_id: Annotated[str, Path(description="An image's id.")],
    request: Request,
    options: SimilarOptions,
    models: TheModels,
    queries: TheQueries,
    search: TheSearch,
    links: TheLinks,
) -> SearchAnswer:
    """Find what looks like an indexed image, by the vector that is stored for it."""
    begun = time.perf_counter()
    model = await models.current()
    pictures = [await queries.of_image(image_id, model)]
    found = await search.found(pictures, options, model, request.state.client)
    return search_answer(found, links, begun)


async def _read(request: Request, body: BodyReader, originals: Sequence[str]) -> list[Upload] | list[NamedQuery]:
    """What is searched for: pictures, or the names of some."""
    if media_type(request) != "application/json":
        uploads = await body.pictures(request)
        return _with_originals(uploads, originals) if originals else uploads
    named = parse_queries(await body.json(request), most=body.max_pictures)
    return _with_originals([], originals) if originals else named


def _with_originals(uploads: list[Upload], originals: Sequence[str]) -> list[Upload]:
    if len(uploads) != len(originals):
        raise InvalidRequest("Name an original for each picture that is sent, or none.", field="query.original_sha256")
    return [replace(upload, original_sha256=each) for upload, each in zip(uploads, originals, strict=True)]


async def _queries(
    given: list[Upload] | list[NamedQuery], queries: Queries, model: Model, *, parts: bool
) -> list[Query]:
    uploads = [each for each in given if isinstance(each, Upload)]
    if uploads:
        return await queries.of_uploads(uploads, model, parts=parts)
    named = [each for each in given if not isinstance(each, Upload)]
    return await asyncio.gather(*[_named(each, queries, model, parts=parts) for each in named])


async def _named(given: NamedQuery, queries: Queries, model: Model, *, parts: bool) -> Query:
    match given:
        case ByImage(image_id=image_id):
            return await queries.of_image(image_id, model)
        case ByKey(bucket=bucket, key=key):
            return await queries.of_key(bucket, key, model)
        case ByUrl(url=url):
            return await queries.of_url(url, model, parts=parts)
        case ByUpload(upload=name):
            return await queries.of_remembered(name, model, parts=parts)
        case ByVector(vector=vector):
            return from_vector(vector, model)
