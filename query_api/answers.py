"""The JSON of the API, as models that its OpenAPI description is made from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from imaging.changes import ChangeKind
from imaging.decoding import content_type_of
from query_api.http.links import Links
from query_api.pictures.verification import Unverified, Verification, Verified
from query_api.search.queries import Query, QueryKind
from query_api.search.search import Hit, Page
from query_api.search.verifying import Found
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
    "partial": False,
    "decoded_share": None,
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
    format: str | None = Field(
        description="What the bytes are: jpeg, png, webp, gif, bmp, tiff, avif, heic, jxl, jp2, ico, psd, raw."
    )
    partial: bool = Field(description="Whether its file was cut short, and what is there of it was indexed.")
    decoded_share: float | None = Field(description="Of a partial one, how much of its height is there, 0.5 to 1.")
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
        partial=content is not None and content.decoded_share is not None,
        decoded_share=content.decoded_share if content else None,
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


Share = Annotated[float, Field(ge=0, le=1)]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Outline = Annotated[list[Point], Field(min_length=4, max_length=4)]


class VerifiedChange(Answer):
    """One thing that was done to a picture."""

    kind: ChangeKind
    value: float = Field(
        description="Degrees clockwise (turned), a factor (stretched), the share of the area that is left (cropped) or "
        "that it takes of the other (bordered, inset), levels of 255 (brighter, darker, recoloured), else 1."
    )


class VerifiedMatch(Answer):
    """What local features say of two pictures, the query (or `a`) and the other one.

    Coordinates are shares of the width and of the height of each upright picture, from its upper left corner.
    """

    is_copy: bool = Field(description="Whether one is a copy of the other, or of a part of it.")
    inliers: int = Field(description="Local features that agree on one transform.")
    share: Share = Field(description="Their share of all features that were found in both.")
    query_overlap: Share = Field(description="How much of the query's area lies within the other picture.")
    other_overlap: Share = Field(description="How much of the other picture's area lies within the query.")
    mirrored: bool
    transform: list[float] | None = Field(
        description="3 × 3, row by row: leads homogeneous points of the query to those of the other picture."
    )
    outline: Outline | None = Field(
        description="The query's corners as points of the other picture, clockwise from the upper left one."
    )
    other_outline: Outline | None = Field(description="The other picture's corners as points of the query.")
    changes: list[VerifiedChange] = Field(description="What makes the query of the other picture.")


NO_MATCH = VerifiedMatch(
    is_copy=False, inliers=0, share=0, query_overlap=0, other_overlap=0, mirrored=False, transform=None, outline=None,
    other_outline=None, changes=[],
)  # fmt: skip


def verified_of(verification: Verification) -> VerifiedMatch | None:
    """The JSON of a verification; None for one that could not be done."""
    if not isinstance(verification, Verified):
        return None
    found = verification.match
    if found is None:
        return NO_MATCH
    return VerifiedMatch(
        is_copy=found.is_copy,
        inliers=found.inliers,
        share=found.share,
        query_overlap=found.query_overlap,
        other_overlap=found.other_overlap,
        mirrored=found.mirrored,
        transform=list(found.transform),
        outline=[list(point) for point in found.outline],
        other_outline=[list(point) for point in found.inverse().outline],
        changes=[VerifiedChange(kind=each.kind, value=each.value) for each in verification.changes],
    )


def unverified_of(verification: Verification) -> Unverified | None:
    """Why there is no verified match."""
    return verification if isinstance(verification, Unverified) else None


class SearchHit(Answer):
    """A content near the query. `image` is its oldest object that matches the filters."""

    image: Image
    score: float = Field(ge=0, le=100, description="100 times the cosine, at least 0.")
    distance: float = Field(ge=0, le=4, description="Squared Euclidean distance of the unit vectors: 2 - 2 × cosine.")
    verdict: Verdict = Field(
        description="exact: the same bytes; copy: verified, where that was asked for, and otherwise at or above "
        "`copy_threshold`; else similar."
    )
    likely_copy: bool = Field(
        description="A similar one that may well be a copy, though that is not verified: it stands out from the "
        "others, or could not be verified in spite of its score."
    )
    verified: VerifiedMatch | None = Field(description="What local features say; null where they were not looked at.")
    unverified: Unverified | None = Field(description="Why `verified` is null.")
    keys: list[str] = Field(description="All matching keys of these bytes in the bucket, oldest first, at most 100.")
    keys_total: int = Field(description="How many matching keys there are; with filters counted up to 10,000.")
    weak: bool = Field(
        description="Neither a copy nor a likely one, and its score is below `floor`: no more alike than pictures that "
        "have nothing in common."
    )
    query: int = Field(description="The index of the query that it is nearest to.")
    part: tuple[float, float, float, float] | None = Field(
        description="The part of the query that it is nearest to, as shares of its sides (left, top, right, bottom); "
        "null if that is the whole."
    )


def hit_of(hit: Hit, links: Links, floor: float) -> SearchHit:
    """The JSON of a hit; ``floor`` is the model's."""
    return SearchHit(
        image=image_of(hit.found.images[0], hit.found.content, links),
        score=hit.score,
        distance=hit.distance,
        verdict=hit.verdict,
        likely_copy=hit.likely,
        verified=verified_of(hit.verification),
        unverified=unverified_of(hit.verification),
        keys=[image.key for image in hit.found.images],
        keys_total=hit.found.total,
        weak=hit.verdict is Verdict.SIMILAR and not hit.likely and hit.score < floor,
        query=hit.query,
        part=hit.part,
    )


class QueryEcho(Answer):
    """What was understood of one query."""

    kind: QueryKind
    name: str | None = Field(description="File name, key or URL.")
    sha256: str | None
    width: int | None
    height: int | None
    format: str | None
    original_sha256: str | None = Field(default=None, description="As the request named it.")
    upload: str | None = Field(
        default=None, description="With `remember=true`: names the picture in further requests, for some minutes."
    )
    preview: str | None = Field(default=None, description="With `preview=true`: a small JPEG as a `data:` URL.")
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
    floor: float = Field(description="The score below which hits are no more alike than chance would have it.")
    pending: int = Field(description="Objects, of the bucket or of all, that wait to be indexed: not found yet.")
    took_ms: float


def echo_of(query: Query, page: Page | None, links: Links, floor: float) -> QueryEcho:
    """The JSON of a query, with its own page where that is wanted."""
    return QueryEcho(
        kind=query.kind,
        name=query.name,
        sha256=query.sha256,
        width=query.width,
        height=query.height,
        format=query.format,
        original_sha256=query.original_sha256,
        upload=query.upload,
        preview=query.preview,
        results=None if page is None else [hit_of(hit, links, floor) for hit in page.hits],
    )


def search_answer(found: Found, links: Links, begun: float) -> SearchAnswer:
    """The JSON of what a search has found that began at ``begun``, by ``time.perf_counter``."""
    model = found.model
    return SearchAnswer(
        results=[hit_of(hit, links, model.floor) for hit in found.page.hits],
        queries=[echo_of(query, own, links, model.floor) for query, own in zip(found.queries, found.own, strict=True)],
        limit=found.options.limit,
        offset=found.options.offset,
        more=found.page.more,
        capped=found.page.capped,
        model=model.embedder.model_id,
        copy_threshold=model.copy_threshold,
        floor=model.floor,
        pending=found.pending,
        took_ms=round((time.perf_counter() - begun) * 1000, 2),
    )


class ImageList(Answer):
    """A page of images."""

    results: list[Image]
    next_page_token: str | None = Field(description="Give it back as `page_token` for the next page; null at the end.")
    total: int | None = Field(description="How many images match; only with `count=true`.")


def images_of(images: Sequence[CatalogImage], links: Links) -> list[Image]:
    """The JSON of several images."""
    return [image_of(each.image, each.content, links) for each in images]
