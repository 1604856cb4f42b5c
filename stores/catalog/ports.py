"""What Twinlens needs of the catalog for writing. Adapters: ``sql``, ``memory``.

Reading for the query service has ports of its own in ``stores.catalog.reading``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from schemas.records import ContentId, ContentRecord, ImageRecord, ObjectRef


class CatalogTransaction(Protocol):
    """One transaction, READ COMMITTED at least. Locks are held until it ends.

    Lock order, for few deadlocks: images by id, then contents by (bucket, SHA-256). Where a deadlock or a lock
    time-out happens all the same, any method raises CatalogOutage: run the transaction again.
    """

    async def lock_image(self, ref: ObjectRef, now: datetime) -> ImageRecord:
        """Lock the image's row, after inserting a placeholder if there is none, and return it."""

    async def lock_images(self, image_ids: Collection[str]) -> list[ImageRecord]:
        """Lock the rows that exist among these, in the order of their ids."""

    async def save_image(self, image: ImageRecord) -> None:
        """Overwrite the locked row."""

    async def delete_image(self, image_id: str) -> None:
        """Delete the locked row."""

    async def lock_content(self, content_id: ContentId) -> ContentRecord | None:
        """Lock the content's row, if there is one."""

    async def lock_or_create_content(self, fresh: ContentRecord) -> ContentRecord:
        """Lock the row of ``fresh.id``, after inserting ``fresh`` if there is none."""

    async def save_content(self, content: ContentRecord) -> None:
        """Overwrite the locked row."""

    async def delete_content(self, content_id: ContentId) -> None:
        """Delete the locked row. A row that an image still refers to can't be deleted (foreign key)."""

    async def content(self, content_id: ContentId) -> ContentRecord | None:
        """The content's row as last committed, not locked."""

    async def references(self, content_id: ContentId, *, limit: int) -> list[ImageRecord]:
        """The images that refer to the content, oldest first."""

    async def oldest_references(self, bucket: str, digests: Collection[str]) -> dict[str, ImageRecord]:
        """The oldest image of each of these contents that has one."""

    async def vector_is_carried(self, vector_id: int) -> bool:
        """Whether a content carries this vector id as pending or indexed."""


class Catalog(Protocol):
    """Writing, and the to-do lists that the sweep and reconcile read.

    Every method raises CatalogOutage when the database does not answer or wants the call repeated.
    """

    def transaction(self) -> AbstractAsyncContextManager[CatalogTransaction]:
        """A transaction that commits when its block ends and rolls back when an exception leaves it."""

    async def image(self, ref: ObjectRef) -> ImageRecord | None:
        """The image's row as last committed."""

    async def images(self, refs: Sequence[ObjectRef]) -> dict[ObjectRef, ImageRecord]:
        """The rows of those that have one."""

    async def contents(self, content_ids: Sequence[ContentId]) -> dict[ContentId, ContentRecord]:
        """The rows of those that have one."""

    async def contents_by_vector(self, vector_ids: Collection[int]) -> dict[int, ContentRecord]:
        """The contents that carry these vector ids, by vector id."""

    async def clear_dirty(self, content_id: ContentId, *, version: int, vector_id: int) -> bool:
        """Clear the dirty mark if version and vector id are still these; whether it did (or the row is gone)."""

    async def unpublished_ids(
        self, content_id: ContentId, *, published_state: str, after: str, limit: int
    ) -> list[str]:
        """Ids above ``after``, in order, of the images that refer to the content and have something to be published.

        That is: they are marked so, or were last published with another state than this one.
        """

    async def due_contents(self, now: datetime, *, limit: int) -> list[ContentRecord]:
        """Dirty contents whose ``resend_due`` has passed, oldest first."""

    async def postpone_contents(self, postponed: Sequence[tuple[ContentId, datetime]]) -> None:
        """Set ``resend_due`` of contents that are still dirty."""

    async def due_images(self, now: datetime, *, limit: int) -> list[str]:
        """Ids of images whose ``publish_due`` has passed, oldest first."""

    async def oldest_dirty(self) -> datetime | None:
        """Since when the content that has waited longest has been dirty; None when none is."""

    async def page_of_images(self, bucket: str, *, prefix: str, after: str, limit: int) -> list[ImageRecord]:
        """Images with an object under the prefix, keys above ``after``, in the order of the keys' bytes."""

    async def page_of_contents(self, bucket: str, *, after: str, limit: int) -> list[ContentRecord]:
        """Contents with SHA-256 above ``after``, in order."""

    async def page_of_contents_by_vector(self, bucket: str, *, after: int, limit: int) -> list[ContentRecord]:
        """Contents with vector id above ``after``, in order."""

    async def count_images(self, bucket: str, *, prefix: str = "") -> int:
        """How many images have an object under the prefix."""

    async def progress(self, name: str) -> Any:
        """Where a resumable job stands, or None."""

    async def save_progress(self, name: str, position: Any, now: datetime) -> None:
        """Remember where a resumable job stands; a position of None forgets it."""

    async def check(self) -> None:
        """Raises CatalogOutage unless the database answers and its schema is the current one."""
