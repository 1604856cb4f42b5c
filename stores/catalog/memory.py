"""The catalog in memory, for unit tests and simulations: row locks, staged writes, deadlock detection, outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from schemas.errors import CatalogContention, CatalogOutage, ModelsChanged
from schemas.lifecycle import published_as
from schemas.model_switch import ModelSwitch
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ObjectRef
from stores.catalog.ports import Carrier, Catalog, CatalogTransaction, Reference

Row = tuple[str, str, str]
"""("image", id, "") or ("content", bucket, sha256)."""


_SWITCH_ROW: Row = ("switch", "", "")


def _image_row(image_id: str) -> Row:
    return "image", image_id, ""


def _content_row(content_id: ContentId) -> Row:
    return "content", content_id.bucket, content_id.sha256


class MemoryTransaction(CatalogTransaction):
    """Sees what is committed and its own staged writes; a staged None is a delete.

    Raises AssertionError for what no database would allow (a broken foreign key), and for what it would, though nobody
    should: writing a row that is not locked or not there.
    """

    def __init__(self, catalog: MemoryCatalog) -> None:
        self._catalog = catalog
        self.staged_images: dict[str, ImageRecord | None] = {}
        self.staged_contents: dict[ContentId, ContentRecord | None] = {}
        self.staged_switch: ModelSwitch | None = None
        self.expected_switch: int | None = None

    def _image(self, image_id: str) -> ImageRecord | None:
        if image_id in self.staged_images:
            return self.staged_images[image_id]
        return self._catalog.image_rows.get(image_id)

    def _content(self, content_id: ContentId) -> ContentRecord | None:
        if content_id in self.staged_contents:
            return self.staged_contents[content_id]
        return self._catalog.content_rows.get(content_id)

    async def lock_images(
        self, image_ids: Collection[str], *, create: Collection[ImageRecord] = ()
    ) -> dict[str, ImageRecord]:
        fresh = {image.id: image for image in create}
        found: dict[str, ImageRecord] = {}
        for image_id in sorted({*image_ids, *fresh}):
            await self._catalog.acquire(_image_row(image_id), self)
            image = self._image(image_id)
            if image is None and image_id in fresh:
                self._catalog.last_seq += 1
                image = replace(fresh[image_id], seq=self._catalog.last_seq)
                self._save_image(image)
            if image is not None:
                found[image_id] = image
            elif image_id not in self.staged_images:
                self._catalog.release(_image_row(image_id))
        return found

    async def save_images(self, images: Collection[ImageRecord]) -> None:
        await self._catalog.step()
        for image in images:
            self._catalog.assert_locked(_image_row(image.id), self)
            self._save_image(image)

    def _save_image(self, image: ImageRecord) -> None:
        if image.content_id is not None and self._content(image.content_id) is None:
            raise AssertionError(f"foreign key: {image.ref} refers to a content that is not there")
        self.staged_images[image.id] = image

    async def delete_images(self, image_ids: Collection[str]) -> None:
        await self._catalog.step()
        for image_id in image_ids:
            self._catalog.assert_locked(_image_row(image_id), self)
            self.staged_images[image_id] = None

    async def lock_contents(
        self, content_ids: Collection[ContentId], *, create: Collection[ContentRecord] = ()
    ) -> dict[ContentId, ContentRecord]:
        fresh = {content.id: content for content in create}
        found: dict[ContentId, ContentRecord] = {}
        for content_id in sorted({*content_ids, *fresh}):
            await self._catalog.acquire(_content_row(content_id), self)
            content = self._content(content_id)
            if content is None and content_id in fresh:
                content = self._create(fresh[content_id])
            if content is not None:
                found[content_id] = content
            elif content_id not in self.staged_contents:
                self._catalog.release(_content_row(content_id))
        return found

    def _create(self, content: ContentRecord) -> ContentRecord:
        merged = {**self._catalog.content_rows, **self.staged_contents}
        if any(row is not None and row.vector_id == content.vector_id for row in merged.values()):
            raise CatalogOutage(f"{content.id} could not be inserted: its vector id is that of another content")
        self.staged_contents[content.id] = content
        return content

    async def save_contents(self, contents: Collection[ContentRecord]) -> None:
        await self._catalog.step()
        for content in contents:
            self._catalog.assert_locked(_content_row(content.id), self)
            self.staged_contents[content.id] = content

    async def delete_contents(self, content_ids: Collection[ContentId]) -> None:
        await self._catalog.step()
        referred = {content_id for content_id, _ in self._references()}
        for content_id in content_ids:
            self._catalog.assert_locked(_content_row(content_id), self)
            if content_id in referred:
                raise AssertionError(f"foreign key: {content_id} is still referred to")
            self.staged_contents[content_id] = None

    async def contents(self, content_ids: Collection[ContentId]) -> dict[ContentId, ContentRecord]:
        await self._catalog.step()
        rows = {content_id: self._content(content_id) for content_id in content_ids}
        return {content_id: row for content_id, row in rows.items() if row is not None}

    def _images(self) -> list[ImageRecord]:
        merged = {**self._catalog.image_rows, **self.staged_images}
        return sorted((image for image in merged.values() if image is not None), key=lambda image: image.seq)

    def _references(self) -> list[tuple[ContentId, ImageRecord]]:
        return [(image.content_id, image) for image in self._images() if image.content_id is not None]

    async def oldest_references(
        self, content_ids: Collection[ContentId], *, limit: int = 1
    ) -> dict[ContentId, list[Reference]]:
        await self._catalog.step()
        oldest: dict[ContentId, list[Reference]] = {}
        for content_id, image in self._references():
            if content_id in content_ids and len(oldest.setdefault(content_id, [])) < limit:
                oldest[content_id].append(Reference(image.id, image.bucket, image.key))
        return oldest

    async def unpublished_references(
        self, published_states: Mapping[ContentId, str], *, limit: int
    ) -> dict[ContentId, list[str]]:
        await self._catalog.step()
        unpublished: dict[ContentId, list[str]] = {}
        for content_id, image in self._references():
            published = published_as(published_states.get(content_id, ""))
            if content_id in published_states and image.published_state not in published:
                unpublished.setdefault(content_id, []).append(image.id)
        return {content_id: ids[:limit] for content_id, ids in unpublished.items()}

    def expect_switch(self, version: int) -> None:
        self.expected_switch = version

    async def lock_switch(self) -> ModelSwitch:
        await self._catalog.acquire(_SWITCH_ROW, self)
        return self.staged_switch or self._catalog.switch_row

    async def save_switch(self, switch: ModelSwitch) -> None:
        await self._catalog.step()
        self._catalog.assert_locked(_SWITCH_ROW, self)
        self.staged_switch = switch

    async def carried_vectors(self, vector_ids: Collection[int]) -> set[int]:
        await self._catalog.step()
        carrying = (ContentState.PENDING, ContentState.INDEXED)
        merged = {**self._catalog.content_rows, **self.staged_contents}
        carried = {row.vector_id for row in merged.values() if row is not None and row.state in carrying}
        return carried & set(vector_ids)


class MemoryCatalog(Catalog):
    """``image_rows`` and ``content_rows`` are what is committed; ``outage`` makes every call fail."""

    def __init__(self, buckets: Collection[str] | None = None) -> None:
        self.buckets = buckets
        self.image_rows: dict[str, ImageRecord] = {}
        self.content_rows: dict[ContentId, ContentRecord] = {}
        self.positions: dict[str, Any] = {}
        self.switch_row = ModelSwitch()
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
        """Wait for a row lock. Raises CatalogContention for the one whose wait would close a circle."""
        await self.step()
        while self._owners.get(row, transaction) is not transaction:
            self._waits[transaction] = row
            try:
                if self._closes_a_circle(transaction):
                    raise CatalogContention("deadlock: try the transaction again")
                async with self._released:
                    await self._released.wait()
            finally:
                del self._waits[transaction]
        self._owners[row] = transaction

    def release(self, row: Row) -> None:
        """Give back the lock of a row that was found not to be there, which keeps nobody out of inserting it.

        To be called before anything else is awaited, so that nobody has begun to wait for it.
        """
        del self._owners[row]

    def assert_locked(self, row: Row, transaction: MemoryTransaction) -> None:
        """Raises AssertionError unless the transaction holds the lock of this row."""
        if self._owners.get(row) is not transaction:
            raise AssertionError(f"{row} is written but not locked")

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
        if transaction.expected_switch not in (None, self.switch_row.version):
            raise ModelsChanged(f"the models that are served are not those of {transaction.expected_switch}")
        self.switch_row = transaction.staged_switch or self.switch_row
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

    async def images(self, refs: Collection[ObjectRef]) -> dict[ObjectRef, ImageRecord]:
        await self.step()
        return {ref: self.image_rows[ref.image_id] for ref in refs if ref.image_id in self.image_rows}

    async def contents(self, content_ids: Collection[ContentId]) -> dict[ContentId, ContentRecord]:
        await self.step()
        return {cid: self.content_rows[cid] for cid in content_ids if cid in self.content_rows}

    async def contents_by_vector(self, vector_ids: Collection[int]) -> dict[int, ContentRecord]:
        await self.step()
        return {row.vector_id: row for row in self.content_rows.values() if row.vector_id in vector_ids}

    async def carriers(self, vector_ids: Collection[int]) -> dict[int, Carrier]:
        found = await self.contents_by_vector(vector_ids)
        oldest: dict[ContentId, ObjectRef] = {}
        for image in sorted(self.image_rows.values(), key=lambda row: row.seq):
            if image.content_id is not None:
                oldest.setdefault(image.content_id, image.ref)
        return {vector_id: Carrier(row.id, oldest.get(row.id)) for vector_id, row in found.items()}

    async def due_contents(self, now: datetime, *, limit: int) -> list[ContentRecord]:
        await self.step()
        due = [
            (row.resend_due, row.id, row)
            for row in self.content_rows.values()
            if row.resend_due and row.resend_due <= now and self._is_ours(row)
        ]
        return [row for _, _, row in sorted(due, key=lambda entry: entry[:2])[:limit]]

    async def due_images(self, now: datetime, *, limit: int) -> list[ImageRecord]:
        await self.step()
        due = [
            (row.publish_due, row.id)
            for row in self.image_rows.values()
            if row.publish_due and row.publish_due <= now and self._is_ours(row)
        ]
        return [self.image_rows[image_id] for _, image_id in sorted(due)[:limit]]

    async def unreadable_images(self, now: datetime, *, limit: int) -> list[ImageRecord]:
        await self.step()
        return _due_retries(filter(self._is_ours, self.image_rows.values()), now)[:limit]

    async def unreadable_contents(self, now: datetime, *, limit: int) -> list[ContentRecord]:
        await self.step()
        return _due_retries(filter(self._is_ours, self.content_rows.values()), now)[:limit]

    async def oldest_dirty(self) -> datetime | None:
        await self.step()
        ours = [row for row in self.content_rows.values() if self._is_ours(row)]
        return min((row.dirty_since for row in ours if row.dirty_since), default=None)

    def _is_ours(self, row: ContentRecord | ImageRecord) -> bool:
        return self.buckets is None or row.bucket in self.buckets

    async def page_of_images(self, bucket: str, *, prefix: str, after: str, limit: int) -> list[ImageRecord]:
        await self.step()
        rows = [row for row in self.image_rows.values() if row.bucket == bucket and row.exists]
        rows = [row for row in rows if row.key.startswith(prefix) and row.key.encode() > after.encode()]
        return sorted(rows, key=lambda row: row.key.encode())[:limit]

    async def image_ids(self, bucket: str, *, limit: int) -> list[str]:
        await self.step()
        return [row.id for row in self.image_rows.values() if row.bucket == bucket][:limit]

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

    async def count_contents(self, bucket: str) -> int:
        await self.step()
        rows = [row for row in self.content_rows.values() if row.bucket == bucket and row.version > 0]
        return sum(row.state is not ContentState.DELETING for row in rows)

    async def switch(self) -> ModelSwitch:
        await self.step()
        return self.switch_row

    async def progress(self, name: str) -> Any:
        await self.step()
        return self.positions.get(name)

    async def save_progress(self, name: str, position: Any, now: datetime) -> None:
        await self.step()
        if position is None:
            self.positions.pop(name, None)
        else:
            self.positions[name] = position

    async def fold_figures(self, now: datetime) -> int:
        return 0

    async def check(self) -> None:
        await self.step()


def _due_retries[R: (ImageRecord, ContentRecord)](rows: Iterable[R], now: datetime) -> list[R]:
    due = [(row.retry_due, row.id, row) for row in rows if row.retry_due is not None and row.retry_due <= now]
    return [row for *_, row in sorted(due)]
