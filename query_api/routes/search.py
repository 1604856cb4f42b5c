"""``POST /v1/search`` and ``GET /v1/images/{id}/similar``."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from query_api import queries
from query_api.answers import SearchAnswer, echo_of, hit_of
from query_api.errors import InvalidRequest, TooLarge
from query_api.live_model import Model
from query_api.parameters import Options, SimilarOptions
from query_api.problems import documented, invalid
from query_api.queries import Query
from query_api.search import SearchOptions, merged, paged, search
from query_api.services import Services, Using
from query_api.uploads import Upload, media_type, read_pictures

router = APIRouter(prefix="/v1", tags=["search"])
MAX_JSON_BYTES = 2 * 1024 * 1024


class _Named(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ByImage(_Named):
    """An indexed image, by its id."""

    image_id: str = Field(pattern="^[0-9a-f]{32}$")


class ByKey(_Named):
    """An indexed image, by its bucket and key."""

    bucket: str = Field(min_length=1, max_length=63)
    key: str = Field(min_length=1, max_length=1024)


class ByUrl(_Named):
    """A picture somewhere on the web. Off by default."""

    url: str = Field(min_length=1, max_length=4096)


class ByVector(_Named):
    """A vector of the live model (512 numbers for sscd); it is scaled to length 1."""

    vector: list[float] = Field(min_length=1, max_length=4096)


class NamedQueries(_Named):
    """Queries that need no upload."""

    queries: list[ByImage | ByKey | ByUrl | ByVector] = Field(min_length=1, max_length=64)


_BINARY = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {
    "required": True,
    "description": "One picture or several as a form, one picture as the body itself, or queries as JSON.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "array", "minItems": 1, "maxItems": 8, "items": _BINARY}},
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
_PROBLEMS = documented(400, 403, 404, 408, 409, 413, 415, 422)


@router.post(
    "/search",
    response_model=SearchAnswer,
    response_model_exclude_none=False,
    responses=_PROBLEMS,
    openapi_extra={"requestBody": _BODY},
    summary="Search by picture, image, URL or vector",
)
async def search_by_body(request: Request, options: Options, services: Using) -> SearchAnswer:
    """Find what looks like the given pictures. Exact copies come first, then the rest by score."""
    begun = time.perf_counter()
    given = await _read(request, services)
    return await _answer(given, options, services, begun)


@router.get(
    "/images/{image_id}/similar",
    response_model=SearchAnswer,
    responses=documented(404, 409, 422),
    summary="Search by an indexed image",
)
async def similar(
    image_id: Annotated[str, Path(description="An image's id.")],
    options: SimilarOptions,
    services: Using,
) -> SearchAnswer:
    """Find what looks like an indexed image, by the vector that is stored for it."""
    begun = time.perf_counter()
    given = NamedQueries.model_construct(queries=[ByImage.model_construct(image_id=image_id)])
    return await _answer(given, options, services, begun)


async def _read(request: Request, services: Services) -> list[Upload] | NamedQueries:
    api, limits = services.settings.api, services.limits
    with services.metrics.stage("read"):
        if media_type(request) != "application/json":
            return list(await read_pictures(request, max_files=api.max_pictures, max_bytes=limits.max_bytes))
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_JSON_BYTES:
                raise TooLarge(f"Queries as JSON may have {MAX_JSON_BYTES:,} bytes.", limit=MAX_JSON_BYTES)
    return _parsed(bytes(body), api.max_pictures)


def _parsed(body: bytes, max_queries: int) -> NamedQueries:
    try:
        named = NamedQueries.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False), within="body") from error
    if len(named.queries) > max_queries:
        raise InvalidRequest(f"At most {max_queries} queries can be asked at once.", field="body.queries")
    return named


async def _answer(
    given: list[Upload] | NamedQueries, options: SearchOptions, services: Services, begun: float
) -> SearchAnswer:
    model = await services.ports.model.current()
    asked = await _queries(given, services, model)
    pages = await search(asked, options, services, copy_threshold=model.copy_threshold)
    page = paged(pages[0], options) if len(pages) == 1 else merged(pages, options)
    own = [None] if len(pages) == 1 else [paged(each, options) for each in pages]
    return SearchAnswer(
        results=[hit_of(hit, services.links) for hit in page.hits],
        queries=[echo_of(query, each, services.links) for query, each in zip(asked, own, strict=True)],
        limit=options.limit,
        offset=options.offset,
        more=page.more,
        capped=page.capped,
        model=model.embedder.model_id,
        copy_threshold=model.copy_threshold,
        took_ms=round((time.perf_counter() - begun) * 1000, 2),
    )


async def _queries(given: list[Upload] | NamedQueries, services: Services, model: Model) -> list[Query]:
    if isinstance(given, list):
        return await queries.from_uploads(given, services, model)
    return list(await asyncio.gather(*[_named(each, services, model) for each in given.queries]))


async def _named(given: ByImage | ByKey | ByUrl | ByVector, services: Services, model: Model) -> Query:
    match given:
        case ByImage(image_id=image_id):
            return await queries.from_image(image_id, services)
        case ByKey(bucket=bucket, key=key):
            return await queries.from_key(bucket, key, services)
        case ByUrl(url=url):
            return await queries.from_url(url, services, model)
        case ByVector(vector=vector):
            return queries.from_vector(vector, model)
