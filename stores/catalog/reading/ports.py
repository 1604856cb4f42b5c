"""What the query service asks of the catalog. Adapter: ``sql``, on SQLite and MySQL alike.

Every method raises CatalogOutage when the database does not answer. An image is listed, counted and found only
while its object exists.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from schemas.lifecycle import image_state
from schemas.model_switch import ModelSwitch
from schemas.patrol import PatrolRound
from schemas.records import ContentId, ContentRecord, ImageRecord, ImageState

KEYS_PER_CONTENT = 100
"""At most so many keys are named for one content; how many there are is counted."""
KEYS_COUNTED = 10_000
"""So far, where filters narrow the objects of a content."""


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Conditions that all have to hold; None means any. ``size_*`` are in bytes and inclusive.

    ``created_from`` ≤ the time that the catalog first saw the object < ``created_to``.
    """

    bucket: str | None = None
    among: tuple[str, ...] | None = None
    """Of all these buckets, if ``bucket`` names none."""
    prefix: str | None = None
    key: str | None = None
    external_id: str | None = None
    sha256: str | None = None
    md5: str | None = None
    content_type: str | None = None
    state: ImageState | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    size_min: int | None = None
    size_max: int | None = None

    @property
    def narrows_beyond_bucket(self) -> bool:
        """Whether anything but the bucket is asked for (which the vector index can filter by itself)."""
        return self != ImageFilter(bucket=self.bucket)


@dataclass(frozen=True, slots=True)
class CatalogImage:
    """An image with the content that it refers to; of both what people are shown, the workers' bookkeeping left out."""

    image: ImageRecord
    content: ContentRecord | None

    @property
    def state(self) -> tuple[ImageState, str | None]:
        """State and reason, as a person is told."""
        state, reason = image_state(self.image, self.content)
        return state, None if reason is None else str(reason)

    @property
    def decided_at(self) -> datetime | None:
        """When it was found to be indexed or rejected; None while it is pending."""
        if self.image.reason is not None:
            return self.image.updated_at
        pending = self.state[0] is ImageState.PENDING
        return None if pending or self.content is None else self.content.indexed_at

    @property
    def attempts(self) -> int:
        """Attempts that have not led to a vector; an object that is refused by its size alone was tried once."""
        if self.image.reason is not None:
            return 1
        return self.content.attempts if self.content is not None else 0


@dataclass(frozen=True, slots=True)
class FoundContent:
    """A content that can be a hit (pending or indexed), with the images of it that match, oldest first.

    ``images`` has at least one and at most ``KEYS_PER_CONTENT``; ``total`` counts all that match: of a content that has
    more than those, and where filters narrow them, up to ``KEYS_COUNTED``.
    """

    content: ContentRecord
    images: tuple[ImageRecord, ...]
    total: int


class ImageOrder(StrEnum):
    """The order of a listing."""

    NEWEST = "newest"
    OLDEST = "oldest"
    KEY = "key"


class Position(NamedTuple):
    """Where a listing goes on: after the image with this ``seq``, or this bucket and key."""

    seq: int = 0
    bucket: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of existing objects by state, distinct contents among them, and bytes."""

    objects: int
    pending: int
    indexed: int
    rejected: int
    bytes: int
    contents: int
    oldest_pending: datetime | None


class SameBytes(NamedTuple):
    """A content that several objects share."""

    content_id: ContentId
    objects: int


class ImageReader(Protocol):
    """Single images and lists of them."""

    async def image(self, image_id: str) -> CatalogImage | None:
        """The image with this id, if its object exists."""

    async def images(self, image_ids: Collection[str]) -> dict[str, CatalogImage]:
        """Those of the images that exist."""

    async def page(
        self, where: ImageFilter, *, order: ImageOrder, after: Position | None, limit: int, offset: int = 0
    ) -> list[CatalogImage]:
        """The next images in the order; ``offset`` skips, at a cost that grows with it."""

    async def count(self, where: ImageFilter) -> int:
        """How many images match."""


class HitReader(Protocol):
    """From vectors and digests to contents."""

    async def hits(
        self, vector_ids: Collection[int], digests: Collection[str], where: ImageFilter
    ) -> list[FoundContent]:
        """The contents that carry these vectors or have these bytes (in any bucket), and have an image that matches.

        Each once, the one with the oldest image first.
        """

    async def by_vector(self, vector_ids: Collection[int], where: ImageFilter) -> Mapping[int, FoundContent]:
        """The hits of these vectors, by vector."""

    async def vector_ids(self, where: ImageFilter, *, limit: int) -> list[int]:
        """The vector id of each image that matches, in no order, at most ``limit``; images of equal bytes share one."""


class StatisticsReader(Protocol):
    """Numbers for the status page. A ``bucket`` of None means all."""

    async def statistics(self, bucket: str | None) -> Statistics:
        """All counts of one moment."""

    async def indexed_per_minute(self, since: datetime, bucket: str | None) -> dict[datetime, int]:
        """Contents by the minute in which they were indexed; minutes without any are left out."""

    async def rejections(self, bucket: str | None) -> dict[str, int]:
        """Rejected objects by the slug of their reason, most frequent first."""

    async def patrol_rounds(self, buckets: Collection[str]) -> list[PatrolRound]:
        """The patrol's last round in each of the buckets that has had one."""

    async def check(self) -> None:
        """Raises CatalogOutage unless the database answers and has our tables."""

    async def switch(self) -> ModelSwitch:
        """The switch of models."""


class DuplicateReader(Protocol):
    """What the search for duplicates walks over."""

    async def same_bytes(self, bucket: str | None, *, after: ContentId | None, limit: int) -> list[SameBytes]:
        """Contents with two objects or more, in the order of bucket and SHA-256."""

    async def of_contents(self, content_ids: Sequence[ContentId]) -> dict[ContentId, FoundContent]:
        """The contents that are pending or indexed, with their images."""

    async def contents_after(self, vector_id: int, *, bucket: str | None, limit: int) -> list[ContentRecord]:
        """Indexed contents with a higher vector id, in the order of it."""


class CatalogReader(ImageReader, HitReader, StatisticsReader, DuplicateReader, Protocol):
    """All of it.

    A reader is opened for certain buckets or for all: rows of others are not there for it.
    """

    async def close(self) -> None:
        """Close all connections."""
