"""The catalog in memory, for unit tests and simulations: row locks, staged writes, deadlock detection, outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from schemas.errors import CatalogOutage
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ObjectRef
from stores.catalog.ports import Catalog, CatalogTransaction

Row = tuple[str, str, str]
"""("image", id, "") or ("content", bucket, sha256)."""


def _image_row(image_id: str) -> Row:
    return "image", image_id, ""


def _content_row(content_id: ContentId) -> Row:
    return "content", content_id.bucket, content_id.sha256


class MemoryTransaction(CatalogTransaction):
    """Sees what is committed and its own staged writes; a staged None is a delete."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        self._catalog = catalog
        self.staged_images: dict[str, ImageRecord | None] = {}
        self.staged_contents: dict[ContentId, ContentRecord | None] = {}

    def _image(self, image_id: str) -> ImageRecord | None:
        if image_id in self.staged_images:
            return self.staged_images[image_id]
        return self._catalog.image_rows.get(image_id)

    def _content(self, content_id: ContentId) -> ContentRecord | None:
        if content_id in self.staged_contents:
            return self.staged_contents[content_id]
        return self._catalog.content_rows.get(content_id)

    async def lock_image(self, ref: ObjectRef, now: datetime) -> ImageRecord:
        await self._catalog.acquire(_image_row(ref.image_id), self)
        found = self._image(ref.image_id)
        if found is None:
            self._catalog.last_seq += 1
            found = ImageRecord(
                ref.image_id, ref.bucket, ref.key, seq=self._catalog.last_seq, created_at=now, updated_at=now
            )
            self.staged_images[ref.image_id] = found
        return found

    async def lock_images(self, image_ids: Collection[str]) -> list[ImageRecord]:
        found = []
        for image_id in sorted(set(image_ids)):
            await self._catalog.acquire(_image_row(image_id), self)
            image = self._image(image_id)
            if image is not None:
                found.append(image)
        return found

    async def save_image(self, image: ImageRecord) -> None:
        await self._catalog.step()
        if image.content_id is not None and self._content(image.content_id) is None:
            raise AssertionError(f"foreign key: {image.ref} refers to a content that is not there")
        self.staged_images[image.id] = image

    async def delete_image(self, image_id: str) -> None:
        await self._catalog.step()
        self.staged_images[image_id] = None

    async def lock_content(self, content_id: ContentId) -> ContentRecord | None:
        await self._catalog.acquire(_content_row(content_id), self)
        return self._content(content_id)

    async def lock_or_create_content(self, fresh: ContentRecord) -> ContentRecord:
        found = await self.lock_content(fresh.id)
        if found is None:
            found = self.staged_contents[fresh.id] = fresh
        return found

    async def save_content(self, content: ContentRecord) -> None:
        await self._catalog.step()
        self.staged_contents[content.id] = content

    async def delete_content(self, content_id: ContentId) -> None:
        await self._catalog.step()
        if any(image.content_id == content_id for image in self._images()):
            raise AssertionError(f"foreign key: {content_id} is still referred to")
        self.staged_contents[content_id] = None

    async def content(self, content_id: ContentId) -> ContentRecord | None:
        await self._catalog.step()
        return self._content(content_id)

    def _images(self) -> list[ImageRecord]:
        merged = {**self._catalog.image_rows, **self.staged_images}
        return sorted((image for image in merged.values() if image is not None), key=lambda image: image.seq)

    async def references(self, content_id: ContentId, *, limit: int) -> list[ImageRecord]:
        await self._catalog.step()
        return [image for image in self._images() if image.content_id == content_id][:limit]

    async def oldest_references(self, bucket: str, digests: Collection[str]) -> dict[str, ImageRecord]:
        await self._catalog.step()
        oldest: dict[str, ImageRecord] = {}
        for image in self._images():
            if image.bucket == bucket and image.sha256 is not None and image.sha256 in digests:
                oldest.setdefault(image.sha256, image)
        return oldest

    async def vector_is_carried(self, vector_id: int) -> bool:
        await self._catalog.step()
        carrying = (ContentState.PENDING, ContentState.INDEXED)
        merged = {**self._catalog.content_rows, **self.staged_contents}
        return any(row is not None and row.vector_id == vector_id and row.state in carrying for row in merged.values())


class MemoryCatalog(Catalog):
    """``image_rows`` and ``content_rows`` are what is committed; ``outage`` makes every call fail."""

    def __init__(self) -> None:
        self.image_rows: dict[str, ImageRecord] = {}
        self.content_rows: dict[ContentId, ContentRecord] = {}
        self.positions: dict[str, Any] = {}
        self.last_seq = 0
        self.outage = False
        self._owners: dict[Row, MemoryTransaction] = {}
        self._waits: dict[MemoryTransaction, Row] = {}
        self._released = asyncio.Condition()

    async def step(self) -> None:
        """Let others run, as a round trip to a real database would; fail while there is an outage."""
        await asyncio.sleep(0)
        if self.outage:
            raise CatalogOutage("the catalog is away")

    async def acquire(self, row: Row, transaction: MemoryTransaction) -> None:
        """Wait for a row lock. Raises CatalogOutage for the one whose wait would close a circle."""
        await self.step()
        while self._owners.get(row, transaction) is not transaction:
            self._waits[transaction] = row
            try:
                if self._closes_a_circle(transaction):
                    raise CatalogOutage("deadlock: try the transaction again")
                async with self._released:
                    await self._released.wait()
            finally:
                del self._waits[transaction]
        self._owners[row] = transaction

    def _closes_a_circle(self, transaction: MemoryTransaction) -> bool:
        follower: MemoryTransaction | None = transaction
        while follower is not None and follower in self._waits:
            follower = self._owners.get(self._waits[follower])
            if follower is transaction:
                return True
        return False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        await self.step()
        transaction = MemoryTransaction(self)
        try:
            yield transaction
            await self.step()
            self._commit(transaction)
        finally:
            self._owners = {row: owner for row, owner in self._owners.items() if owner is not transaction}
            async with self._released:
                self._released.notify_all()

    def _commit(self, transaction: MemoryTransaction) -> None:
        for image_id, image in transaction.staged_images.items():
            if image is None:
                self.image_rows.pop(image_id, None)
            else:
                self.image_rows[image_id] = image
        for content_id, content in transaction.staged_contents.items():
            if content is None:
                self.content_rows.pop(content_id, None)
            else:
                self.content_rows[content_id] = content

    async def image(self, ref: ObjectRef) -> ImageRecord | None:
        return (await self.images([ref])).get(ref)

    async def images(self, refs: Sequence[ObjectRef]) -> dict[ObjectRef, ImageRecord]:
        await self.step()
        return {ref: self.image_rows[ref.image_id] for ref in refs if ref.image_id in self.image_rows}

    async def contents(self, content_ids: Sequence[ContentId]) -> dict[ContentId, ContentRecord]:
        await self.step()
        return {cid: self.content_rows[cid] for cid in content_ids if cid in self.content_rows}

    async def contents_by_vector(self, vector_ids: Collection[int]) -> dict[int, ContentRecord]:
        await self.step()
        return {row.vector_id: row for row in self.content_rows.values() if row.vector_id in vector_ids}

    async def clear_dirty(self, content_id: ContentId, *, version: int, vector_id: int) -> bool:
        async with self.transaction() as tx:
            row = await tx.lock_content(content_id)
            if row is None or (row.version, row.vector_id) != (version, vector_id):
                return False
            await tx.save_content(replace(row, dirty_since=None, resend_due=None))
            return True

    async def unpublished_ids(
        self, content_id: ContentId, *, published_state: str, after: str, limit: int
    ) -> list[str]:
        await self.step()
        rows = [row for row in self.image_rows.values() if row.content_id == content_id and row.id > after]
        ids = [
            row.id
            for row in rows
            if row.version != row.published_version or row.published_state != published_state or row.publish_due
        ]
        return sorted(ids)[:limit]

    async def due_contents(self, now: datetime, *, limit: int) -> list[ContentRecord]:
        await self.step()
        due = [
            (row.resend_due, row.id, row)
            for row in self.content_rows.values()
            if row.resend_due and row.resend_due <= now
        ]
        return [row for _, _, row in sorted(due, key=lambda entry: entry[:2])[:limit]]

    async def postpone_contents(self, postponed: Sequence[tuple[ContentId, datetime]]) -> None:
        for content_id, due in postponed:
            async with self.transaction() as tx:
                row = await tx.lock_content(content_id)
                if row is not None and row.dirty_since is not None:
                    await tx.save_content(replace(row, resend_due=due))

    async def due_images(self, now: datetime, *, limit: int) -> list[str]:
        await self.step()
        due = [
            (row.publish_due, row.id) for row in self.image_rows.values() if row.publish_due and row.publish_due <= now
        ]
        return [image_id for _, image_id in sorted(due)[:limit]]

    async def oldest_dirty(self) -> datetime | None:
        await self.step()
        return min((row.dirty_since for row in self.content_rows.values() if row.dirty_since), default=None)

    async def page_of_images(self, bucket: str, *, prefix: str, after: str, limit: int) -> list[ImageRecord]:
        await self.step()
        rows = [row for row in self.image_rows.values() if row.bucket == bucket and row.exists]
        rows = [row for row in rows if row.key.startswith(prefix) and row.key.encode() > after.encode()]
        return sorted(rows, key=lambda row: row.key.encode())[:limit]

    async def page_of_contents(self, bucket: str, *, after: str, limit: int) -> list[ContentRecord]:
        await self.step()
        rows = [row for row in self.content_rows.values() if row.bucket == bucket and row.sha256 > after]
        return sorted(rows, key=lambda row: row.sha256)[:limit]

    async def page_of_contents_by_vector(self, bucket: str, *, after: int, limit: int) -> list[ContentRecord]:
        await self.step()
        rows = [row for row in self.content_rows.values() if row.bucket == bucket and row.vector_id > after]
        return sorted(rows, key=lambda row: row.vector_id)[:limit]

    async def count_images(self, bucket: str, *, prefix: str = "") -> int:
        return len(await self.page_of_images(bucket, prefix=prefix, after="", limit=len(self.image_rows)))

    async def progress(self, name: str) -> Any:
        await self.step()
        return self.positions.get(name)

    async def save_progress(self, name: str, position: Any, now: datetime) -> None:
        await self.step()
        if position is None:
            self.positions.pop(name, None)
        else:
            self.positions[name] = position

    async def check(self) -> None:
        await self.step()
