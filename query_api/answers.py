"""The JSON of the API, as models that its OpenAPI description is made from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from imaging.decoding import content_type_of
from query_api.links import Links
from query_api.queries import Query, QueryKind
from query_api.search import Hit, Page
from schemas.records import ContentRecord, ImageRecord, ImageState
from schemas.similarity import Verdict
from stores.catalog.reading.ports import CatalogImage

_IMAGE_EXAMPLE: dict[str, JsonValue] = {
    "id": "3f2a9c0d5e6b7a8190a1b2c3d4e5f607",
    "bucket": "pictures",
    "key": "holiday/beach.jpg",
    "external_id": None,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "md5": "098f6bcd4621d373cade4e832627b4f6",
    "width": 1600,
    "height": 1067,
    "format": "jpeg",
    "size": 345678,
    "content_type": "image/jpeg",
    "created_at": "2026-01-02T03:04:05.678901Z",
    "updated_at": "2026-01-02T03:04:06.012345Z",
    "last_modified": "2026-01-02T03:04:05Z",
    "state": "indexed",
    "reason": None,
    "decided_at": "2026-01-02T03:04:05.912345Z",
    "attempts": 0,
    "metadata": {},
    "file_url": "/v1/images/3f2a9c0d5e6b7a8190a1b2c3d4e5f607/file",
    "thumbnail_url": "/v1/images/3f2a9c0d5e6b7a8190a1b2c3d4e5f607/thumbnail?v=9f86d081884c",
}


class Answer(BaseModel):
    """An object in an answer."""

    model_config = ConfigDict(frozen=True)


class Image(Answer):
    """One object in a bucket, as the catalog knows it."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"example": _IMAGE_EXAMPLE})

    id: str = Field(description="The first half of SHA-256 of `bucket/key`: the same after any rebuild.")
    bucket: str
    key: str
    external_id: str | None = Field(description="The producer's own id, from the object's metadata `external-id`.")
    sha256: str | None = Field(description="Of the bytes; null until they were read.")
    md5: str | None
    width: int | None = Field(description="Pixels of the upright picture; null until it was decoded.")
    height: int | None
    format: str | None = Field(description="What the bytes are: jpeg, png, webp, gif, bmp, tiff, avif.")
    size: int = Field(description="Bytes.")
    content_type: str = Field(description="By the bytes where they were decoded, else as uploaded.")
    created_at: datetime | None = Field(description="When Twinlens first saw the object.")
    updated_at: datetime | None
    last_modified: datetime | None = Field(description="By the object store.")
    state: ImageState
    reason: str | None = Field(description="Why it was rejected: a slug, or `slug: sentence`.")
    decided_at: datetime | None = Field(description="When it was indexed or rejected; null while it is pending.")
    attempts: int = Field(description="Attempts at it that have not led to a vector.")
    metadata: dict[str, str] = Field(description="The object's user metadata.")
    file_url: str
    thumbnail_url: str


def image_of(image: ImageRecord, content: ContentRecord | None, links: Links) -> Image:
    """The JSON of an image."""
    known = CatalogImage(image, content)
    state, reason = known.state
    kind = content.format if content else None
    return Image(
        id=image.id,
        bucket=image.bucket,
        key=image.key,
        external_id=image.external_id,
        sha256=image.sha256,
        md5=content.md5 if content else None,
        width=content.width if content else None,
        height=content.height if content else None,
        format=kind,
        size=image.size,
        content_type=content_type_of(kind) if kind else image.content_type,  # type: ignore[arg-type]
        created_at=image.created_at,
        updated_at=image.updated_at,
        last_modified=image.last_modified,
        state=state,
        reason=reason,
        decided_at=known.decided_at,
        attempts=known.attempts,
        metadata={name: str(value) for name, value in image.metadata.items()},
        file_url=links.file(image.id),
        thumbnail_url=links.thumbnail(image.id, image.sha256),
    )


class SearchHit(Answer):
    """A content near the query. `image` is its oldest object that matches the filters."""

    image: Image
    score: float = Field(ge=0, le=100, description="100 times the cosine, at least 0.")
    distance: float = Field(ge=0, le=4, description="Squared Euclidean distance of the unit vectors: 2 - 2 × cosine.")
    verdict: Verdict = Field(description="exact: the same bytes; copy: at or above `copy_threshold`; else similar.")
    keys: list[str] = Field(description="All matching keys of these bytes in the bucket, oldest first, at most 100.")
    keys_total: int = Field(description="How many matching keys there are; with filters counted up to 10,000.")
    query: int = Field(description="The index of the query that it is nearest to.")


def hit_of(hit: Hit, links: Links) -> SearchHit:
    """The JSON of a hit."""
    return SearchHit(
        image=image_of(hit.found.images[0], hit.found.content, links),
        score=hit.score,
        distance=hit.distance,
        verdict=hit.verdict,
        keys=[image.key for image in hit.found.images],
        keys_total=hit.found.total,
        query=hit.query,
    )


class QueryEcho(Answer):
    """What was understood of one query."""

    kind: QueryKind
    name: str | None = Field(description="File name, key or URL.")
    sha256: str | None
    width: int | None
    height: int | None
    format: str | None
    results: list[SearchHit] | None = Field(default=None, description="This query's own page, where there are several.")


class SearchAnswer(Answer):
    """A page of hits, best first. With several queries every content is listed once, under its best score."""

    results: list[SearchHit]
    queries: list[QueryEcho]
    limit: int
    offset: int
    more: bool = Field(description="Whether there is a next page.")
    capped: bool = Field(
        description="The 1,000 nearest were looked at without filling the page; the filters may match more beyond them."
    )
    model: str = Field(description="The model that made the vectors.")
    copy_threshold: float = Field(description="The score from which on a hit counts as a copy.")
    took_ms: float


def echo_of(query: Query, page: Page | None, links: Links) -> QueryEcho:
    """The JSON of a query, with its own page where that is wanted."""
    return QueryEcho(
        kind=query.kind,
        name=query.name,
        sha256=query.sha256,
        width=query.width,
        height=query.height,
        format=query.format,
        results=None if page is None else [hit_of(hit, links) for hit in page.hits],
    )


class ImageList(Answer):
    """A page of images."""

    results: list[Image]
    next_page_token: str | None = Field(description="Give it back as `page_token` for the next page; null at the end.")
    total: int | None = Field(description="How many images match; only with `count=true`.")


def images_of(images: Sequence[CatalogImage], links: Links) -> list[Image]:
    """The JSON of several images."""
    return [image_of(each.image, each.content, links) for each in images]
