"""What Twinlens needs of the catalog for writing. Adapters: ``sql``, ``memory``.

Reading for the query service has ports of its own in ``stores.catalog.reading``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from schemas.model_switch import ModelSwitch
from schemas.records import ContentId, ContentRecord, ImageRecord, ObjectRef, RequestRecord


class Carrier(NamedTuple):
    """A content that carries a vector id, and the oldest object that refers to it, if there is one."""

    content_id: ContentId
    oldest: ObjectRef | None


class Reference(NamedTuple):
    """An image that refers to a content, as far as it takes to name it."""

    image_id: str
    bucket: str
    key: str

    @property
    def ref(self) -> ObjectRef:
        """The object."""
        return ObjectRef(self.bucket, self.key)


class CatalogTransaction(Protocol):
    """One transaction, READ COMMITTED at least. Locks are held until it ends.

    Each method takes a whole batch and sends a fixed few statements (at most three), whatever the number of rows.

    Lock order, for few deadlocks: images by id, then contents by (bucket, SHA-256). Where a deadlock or a lock
    time-out happens all the same, any method raises CatalogContention: run the transaction again.
    """

    async def lock_images(
        self, image_ids: Collection[str], *, create: Collection[ImageRecord] = ()
    ) -> dict[str, ImageRecord]:
        """Lock the rows that exist among these, in the order of their ids, and return them by id.

        The rows in ``create`` are inserted first where there is none with their id, and locked too.
        """

    async def save_images(self, images: Collection[ImageRecord]) -> None:
        """Overwrite locked rows."""

    async def delete_images(self, image_ids: Collection[str]) -> None:
        """Delete locked rows."""

    async def lock_contents(
        self, content_ids: Collection[ContentId], *, create: Collection[ContentRecord] = ()
    ) -> dict[ContentId, ContentRecord]:
        """Lock the rows that exist among these, in the order of (bucket, SHA-256), and return them.

        The rows in ``create`` are inserted where there is none with their id, and locked too.
        """

    async def save_contents(self, contents: Collection[ContentRecord]) -> None:
        """Overwrite locked rows."""

    async def delete_contents(self, content_ids: Collection[ContentId]) -> None:
        """Delete locked rows. One that an image still refers to can't be deleted (foreign key)."""

    async def contents(self, content_ids: Collection[ContentId]) -> dict[ContentId, ContentRecord]:
        """The rows of those that have one, as last committed (or written in this transaction), not locked."""

    async def oldest_references(
        self, content_ids: Collection[ContentId], *, limit: int = 1
    ) -> dict[ContentId, list[Reference]]:
        """The images that refer to each content, oldest first, at most ``limit`` of each; only those that have one.

        It reads no more rows than it returns, however many images refer to a content.
        """

    async def unpublished_references(
        self, published_states: Mapping[ContentId, str], *, limit: int
    ) -> dict[ContentId, list[str]]:
        """Ids of images that were last published with another state than the one given for the content they refer to.

        At most ``limit`` of each content, in no order; only those contents that have one. It reads no more rows than it
        returns, however many images refer to a content.
        """

    def expect_switch(self, version: int) -> None:
        """Commit only while the switch of models has this version; else the transaction's end raises ModelsChanged.

        So whoever changes the switch knows that nothing is committed later by what held before.
        """

    async def lock_switch(self) -> ModelSwitch:
        """Lock the switch of models; whoever expects a version of it waits with the commit."""

    async def save_switch(self, switch: ModelSwitch) -> None:
        """Overwrite the locked switch."""

    async def carried_vectors(self, vector_ids: Collection[int]) -> set[int]:
        """Those of the vector ids that a content carries as pending or indexed."""


class Catalog(Protocol):
    """Writing, and the to-do lists that the sweep and reconcile read.

    A catalog is opened for certain buckets or for all. Whatever rows there are of others, they are not on its to-do
    lists (``due_contents``, ``due_images``, ``oldest_dirty``): they stay due until their bucket comes back.

    Every method raises CatalogOutage when the database does not answer or wants the call repeated.
    """

    def transaction(self) -> AbstractAsyncContextManager[CatalogTransaction]:
        """A transaction that commits when its block ends and rolls back when an exception leaves it."""

    async def images(self, refs: Collection[ObjectRef]) -> dict[ObjectRef, ImageRecord]:
        """The rows of those that have one, as last committed."""

    async def contents(self, content_ids: Collection[ContentId]) -> dict[ContentId, ContentRecord]:
        """The rows of those that have one, as last committed."""

    async def contents_by_vector(self, vector_ids: Collection[int]) -> dict[int, ContentRecord]:
        """The contents that carry these vector ids, by vector id."""

    async def carriers(self, vector_ids: Collection[int]) -> dict[int, Carrier]:
        """The same, named only, each with its oldest object: in one question, however many objects a content has."""

    async def due_contents(self, now: datetime, *, limit: int) -> list[ContentRecord]:
        """Dirty contents whose ``resend_due`` has passed, oldest first."""

    async def due_images(self, now: datetime, *, limit: int) -> list[ImageRecord]:
        """Images whose ``publish_due`` has passed, oldest first."""

    async def unreadable_images(self, now: datetime, *, limit: int) -> list[ImageRecord]:
        """Images whose ``retry_due`` has passed, oldest first."""

    async def unreadable_contents(self, now: datetime, *, limit: int) -> list[ContentRecord]:
        """Contents whose ``retry_due`` has passed, oldest first."""

    async def oldest_dirty(self) -> datetime | None:
        """Since when the content that has waited longest has been dirty; None when none is."""

    async def page_of_images(self, bucket: str, *, prefix: str, after: str, limit: int) -> list[ImageRecord]:
        """Images with an object under the prefix, keys above ``after``, in the order of the keys' bytes."""

    async def image_ids(self, bucket: str, *, limit: int) -> list[str]:
        """Ids of images of the bucket, with an object or without, in no order."""

    async def page_of_contents(self, bucket: str, *, after: str, limit: int) -> list[ContentRecord]:
        """Contents with SHA-256 above ``after``, in order."""

    async def page_of_contents_by_vector(self, bucket: str, *, after: int, limit: int) -> list[ContentRecord]:
        """Contents with vector id above ``after``, in order."""

    async def count_images(self, bucket: str, *, prefix: str = "") -> int:
        """How many images have an object under the prefix."""

    async def count_contents(self, bucket: str) -> int:
        """How many contents the bucket has, without those that are being deleted."""

    async def switch(self) -> ModelSwitch:
        """The switch of models, as last committed."""

    async def progress(self, name: str) -> Any:
        """Where a resumable job stands, or None."""

    async def save_progress(self, name: str, position: Any, now: datetime) -> None:
        """Remember where a resumable job stands; a position of None forgets it."""

    async def fold_figures(self, now: datetime) -> int:
        """Add up some of what transactions changed of the kept figures; how many changes those were."""

    async def check(self) -> None:
        """Raises CatalogOutage unless the database answers and its schema is the current one."""


class RequestLedger(Protocol):
    """What makes a producer's request happen once. Every method raises CatalogOutage."""

    async def concluded(self, request_ids: Collection[str]) -> Mapping[str, RequestRecord]:
        """Those of the requests that have an outcome, by their id."""

    async def take_up(self, request: RequestRecord) -> RequestRecord:
        """Insert the row unless the request id is known; the row as it is then."""

    async def conclude(self, request: RequestRecord) -> RequestRecord:
        """Write the outcome unless there is one already; the row as it is then. The first outcome stays."""

    async def published(self, request_ids: Collection[str]) -> None:
        """Note that the broker has accepted the outcomes."""

    async def due(self, now: datetime, *, limit: int) -> Sequence[RequestRecord]:
        """Concluded requests whose outcome was not published in time, oldest first."""

    async def drop_concluded(self, before: datetime, *, limit: int) -> int:
        """Delete requests that were concluded before and whose outcome is published, oldest first; how many it were.

        Two callers at once may both count a row.
        """
