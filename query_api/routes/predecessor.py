"""The reads of the service that Twinlens replaces, shape for shape, so that its web front end goes on working.

``POST /sample/file``, ``GET /meta/image``, ``GET /meta/image/count`` and ``GET /meta/image/{meta_uuid}``; its writes
are refused. Switched off by ``api.predecessor_routes: false``.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field
from starlette.datastructures import FormData

from query_api.answers import Answer
from query_api.errors import InvalidRequest, NotFound, ReadOnly
from query_api.http.dependencies import (
    TheBodyReader,
    TheCatalog,
    TheModels,
    TheOverviews,
    TheQueries,
    TheRanker,
    TheSettings,
)
from query_api.http.forwarded import prefix_of
from query_api.http.problems import documented
from query_api.http.uploads import read_form
from query_api.search.search import Hit, SearchOptions, paged
from schemas.collection import MAX_WINDOW
from schemas.records import EXTERNAL_ID_MAX, ContentRecord, ImageRecord, ImageState
from schemas.similarity import clamp_cosine
from stores.catalog.reading.ports import CatalogImage, ImageFilter, ImageOrder, ImageReader

router = APIRouter(tags=["predecessor"])
_INDEXED = ImageFilter(state=ImageState.INDEXED)
MAX_OFFSET = 10_000_000
_MD5 = re.compile(r"[0-9A-Fa-f]{32}")


class PredecessorImage(Answer):
    """An image as the predecessor showed it."""

    id: int
    meta_uuid: str = Field(description="Our external id, else the MD5.")
    hash_code: str = Field(description="MD5.")
    milvus_id: int
    file_name: str
    file_path: str
    created_at: datetime | None
    updated_at: datetime | None
    file_url: str
    file_relative_url: str


class PredecessorHit(PredecessorImage):
    """An image near the picture. Every object of a content is a hit of its own."""

    distance: float = Field(description="Squared L2, 0 to 4.")
    score: float = Field(description="(2 - distance) / 2 * 100, from -100 to 100.")


class HitsAnswer(Answer):
    """What a search found."""

    succeed: bool = True
    message: str = "success"
    data: list[PredecessorHit]


class ImagesAnswer(Answer):
    """A page of images."""

    succeed: bool = True
    message: str = "success"
    data: list[PredecessorImage]
    total: int


class CountAnswer(Answer):
    """How many images and vectors there are."""

    succeed: bool = True
    message: str = "success"
    image_count: int
    vector_count: int


class ImageAnswer(Answer):
    """One image."""

    succeed: bool = True
    message: str = "success"
    data: PredecessorImage


class _Links(NamedTuple):
    """What absolute links begin with, and relative ones."""

    base: str
    prefix: str


async def _links(request: Request, settings: TheSettings) -> _Links:
    prefix = prefix_of(request.scope)
    return _Links(settings.api.public_url or str(request.base_url).rstrip("/") + prefix, prefix)


_Linking = Annotated[_Links, Depends(_links)]
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "offset": {"type": "integer", "default": 0, "minimum": 0},
                    "limit": {"type": "integer", "default": 100, "minimum": 1, "maximum": MAX_WINDOW},
                },
            }
        }
    },
}


@router.post(
    "/sample/file",
    response_model=HitsAnswer,
    responses=documented(400, 408, 413, 415, 422),
    openapi_extra={"requestBody": _BODY},
    summary="Search by picture",
)
async def sample_file(
    request: Request, body: TheBodyReader, models: TheModels, queries: TheQueries, ranker: TheRanker, links: _Linking
) -> HitsAnswer:
    """Find what looks like the picture in the form field `file`."""
    async with read_form(request, max_files=1) as form:
        files = await body.files(form, "file")
        offset, limit = _number(form, "offset", 0, 0), _number(form, "limit", 100, 1)
    if not files:
        raise InvalidRequest("Send the picture in the form field `file`.", field="body.file")
    if offset + limit > MAX_WINDOW:
        raise InvalidRequest(f"offset + limit may be at most {MAX_WINDOW}.", field="body.offset")
    model = await models.current()
    given = await queries.of_uploads(files, model)
    # Contents become their objects, each a hit, and the page is cut from those. The first n objects lie within the
    # first n contents.
    options = SearchOptions(limit=offset + limit)
    [page] = await ranker.pages(given, options, model)
    hits = [(hit, image) for hit in paged(page, options).hits for image in hit.found.images]
    return HitsAnswer(data=[_hit(hit, image, links) for hit, image in hits[offset : offset + limit]])


def _number(form: FormData, name: str, default: int, least: int) -> int:
    """A form field. The predecessor's own page sends them as text."""
    value = form.get(name, "")
    if value == "":
        return default
    if (
        not isinstance(value, str)
        or not value.isascii()
        or not value.isdigit()
        or not least <= int(value[:9]) <= MAX_WINDOW
    ):
        raise InvalidRequest(f"`{name}` has to be a whole number from {least} to {MAX_WINDOW}.", field=f"body.{name}")
    return int(value[:9])


@router.get("/meta/image", response_model=ImagesAnswer, responses=documented(422), summary="List images")
async def meta_images(
    catalog: TheCatalog,
    overviews: TheOverviews,
    links: _Linking,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 20,
) -> ImagesAnswer:
    """Indexed images, newest first."""
    page = await catalog.page(_INDEXED, order=ImageOrder.NEWEST, after=None, limit=limit, offset=offset)
    total = await overviews.count.get(_INDEXED)
    data = [_image(each.image, each.content, links) for each in page if each.content is not None]
    return ImagesAnswer(data=data, total=total)


@router.get("/meta/image/count", response_model=CountAnswer, responses=documented(), summary="Count images and vectors")
async def meta_count(overviews: TheOverviews) -> CountAnswer:
    """How many images are indexed, and how many vectors there are."""
    images = await overviews.count.get(_INDEXED)
    return CountAnswer(image_count=images, vector_count=await overviews.vectors.get(None))


@router.get(
    "/meta/image/{meta_uuid:path}", response_model=ImageAnswer, responses=documented(404, 422), summary="Get one image"
)
async def meta_image(
    meta_uuid: Annotated[str, Path(max_length=EXTERNAL_ID_MAX)], catalog: TheCatalog, links: _Linking
) -> ImageAnswer:
    """The newest indexed image with this external id, else with this MD5."""
    found = await _by_uuid(meta_uuid, catalog)
    if found is None or found.content is None:
        raise NotFound(f"There is no image {meta_uuid}.", data=None)
    return ImageAnswer(data=_image(found.image, found.content, links))


async def _by_uuid(meta_uuid: str, catalog: ImageReader) -> CatalogImage | None:
    names = [ImageFilter(state=ImageState.INDEXED, external_id=meta_uuid)]
    if _MD5.fullmatch(meta_uuid):
        # Only what can be one: MySQL does not compare other text with a column in ASCII.
        names.append(ImageFilter(state=ImageState.INDEXED, md5=meta_uuid.lower()))
    for where in names:
        if page := await catalog.page(where, order=ImageOrder.NEWEST, after=None, limit=1):
            return page[0]
    return None


@router.post("/meta/image/file", include_in_schema=False)
@router.delete("/meta/image/{_rest:path}", include_in_schema=False)
@router.delete("/meta/image", include_in_schema=False)
@router.put("/meta/image/{_rest:path}", include_in_schema=False)
async def refuse_to_write() -> None:
    """The bucket is where pictures come and go."""
    raise ReadOnly(
        "This service only reads. Put the picture into its bucket, or delete it there; the index follows.",
        headers={"Allow": "GET, HEAD"},
    )


def _image(image: ImageRecord, content: ContentRecord, links: _Links) -> PredecessorImage:
    return PredecessorImage(**_members(image, content, links))


def _hit(hit: Hit, image: ImageRecord, links: _Links) -> PredecessorHit:
    members = _members(image, hit.found.content, links)
    return PredecessorHit(**members, distance=hit.distance, score=100.0 * clamp_cosine(hit.cosine))


def _members(image: ImageRecord, content: ContentRecord, links: _Links) -> dict[str, Any]:
    file = f"/v1/images/{image.id}/file"
    md5 = content.md5 or ""
    return {
        "id": image.seq,
        "meta_uuid": image.external_id or md5,
        "hash_code": md5,
        "milvus_id": content.vector_id,
        "file_name": image.key.rpartition("/")[2] or image.key,
        "file_path": str(image.ref),
        "created_at": image.created_at,
        "updated_at": image.updated_at,
        "file_url": links.base + file,
        "file_relative_url": links.prefix + file,
    }
