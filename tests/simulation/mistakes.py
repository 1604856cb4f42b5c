"""Functions with a mistake, to take the place of the handlers' own: each is what somebody might have written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from imaging.digest import Digest, digest_of
from schemas import lifecycle
from schemas.messages import ContentChanged, ImageChanged, ObjectHint
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ObjectRef, ObjectState, Reason
from stores.catalog.ports import Catalog, CatalogTransaction, Reference
from stores.objects.ports import ObjectReader
from stores.vectors.ports import VectorEntry
from stores.vectors.views import VectorsWithViews
from streams import publish
from streams.common.checkpoints import Step
from streams.common.ports import Clock, ServedVectors
from streams.index import converge_contents
from streams.index.converge_contents import (
    Decided,
    DecisionPorts,
    Embedded,
    Embedding,
    Prepared,
    RecordPorts,
    Settled,
    SettlePorts,
)
from streams.ingest import converge_objects, look
from streams.ingest.converge_objects import ObjectOutcome, ObjectPorts, Recorded
from streams.ingest.look import Images, Look, LookPorts
from streams.publish import Contents, PublishPorts
from streams.repair.sweep import SweepPorts

_snapshot = publish.snapshot
_lock_images = publish.lock_images
_publish_locked = publish.publish_locked
_decide = converge_contents.decide
_settle = converge_contents.settle
_record_contents = converge_contents.record
_record = converge_objects.record_looks
_concerned = converge_objects.concerned
_recorded_images = converge_objects._recorded_images
_agrees = converge_objects._agrees
_observe = look.observe
_looked_at_already = look.looked_at_already
_restart = lifecycle.restart
_gain_reference = lifecycle.gain_reference
_lose_reference = lifecycle.lose_reference
_clear_dirty = lifecycle.clear_dirty
_record_object = lifecycle.record_object
_record_absence = lifecycle.record_absence


# Locks that are not taken.


class Unlocked:
    """A transaction that reads some rows without locking them, and locks them only to overwrite them.

    Locking to write is what any database does by itself; one that is gone by then is not written.
    """

    def __init__(self, tx: Any, *, images: bool = False, contents: bool = False) -> None:
        self._tx = tx
        self._images = images
        self._contents = contents

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def lock_images(self, image_ids: Collection[str], **options: Any) -> dict[str, ImageRecord]:
        """Those that exist, perhaps as last committed."""
        if not self._images:
            return dict(await self._tx.lock_images(image_ids, **options))
        await self._tx._catalog.step()
        rows = {image_id: self._tx._image(image_id) for image_id in sorted(image_ids)}
        return {image_id: row for image_id, row in rows.items() if row is not None}

    async def save_images(self, images: Collection[ImageRecord]) -> None:
        """Overwrite those that are still there."""
        there = await self._tx.lock_images([image.id for image in images])
        await self._tx.save_images([image for image in images if image.id in there])

    async def delete_images(self, image_ids: Collection[str]) -> None:
        """Delete those that are still there."""
        await self._tx.delete_images(list(await self._tx.lock_images(image_ids)))

    async def lock_contents(
        self, content_ids: Collection[ContentId], *, create: Collection[ContentRecord] = ()
    ) -> dict[ContentId, ContentRecord]:
        """Those that exist, perhaps as last committed; the others are made."""
        if not self._contents:
            return dict(await self._tx.lock_contents(content_ids, create=create))
        rows = await self._tx.contents([*content_ids, *(content.id for content in create)])
        made = [content for content in create if content.id not in rows]
        rows |= await self._tx.lock_contents([content.id for content in made], create=made)
        return dict(sorted(rows.items()))

    async def save_contents(self, contents: Collection[ContentRecord]) -> None:
        """Overwrite those that are still there."""
        there = await self._tx.lock_contents([content.id for content in contents])
        await self._tx.save_contents([content for content in contents if content.id in there])


class WithTransactions:
    """A catalog of wrapped transactions."""

    def __init__(self, catalog: Any, wrapped: Callable[[Any], Any]) -> None:
        self._catalog = catalog
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """See Catalog."""
        async with self._catalog.transaction() as tx:
            yield self._wrapped(tx)


class Unfenced:
    """A transaction that commits whatever the version of the switch of models is."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def expect_switch(self, version: int) -> None:
        """Does not look."""


async def record_whatever_is_served(
    batch: Sequence[Embedded], ports: RecordPorts, rules: lifecycle.Rules
) -> list[Settled]:
    """Records as indexed what was embedded by the models of before."""
    catalog: Any = WithTransactions(ports.catalog, Unfenced)
    return await _record_contents(batch, replace(ports, catalog=catalog), rules)


async def store_for_one(batch: Sequence[tuple[Prepared, Embedding]], served: ServedVectors) -> None:
    """Leaves the other model out."""
    await served.in_use.get([item.content.vector_id for item, _ in batch])


def _without_content_locks[P: (DecisionPorts, ObjectPorts)](ports: P) -> P:
    catalog: Any = WithTransactions(ports.catalog, partial(Unlocked, contents=True))
    return replace(ports, catalog=catalog)


async def decide_unlocked(
    messages: Collection[ContentChanged], ports: DecisionPorts, rules: lifecycle.Rules, *, suspects_too: bool = False
) -> Decided:
    """Reads what it decides on without a lock."""
    return await _decide(messages, _without_content_locks(ports), rules, suspects_too=suspects_too)


async def record_with_unlocked_contents(
    looks: Sequence[Look], known: Mapping[ObjectRef, ImageRecord], ports: ObjectPorts
) -> Recorded:
    """Adds references to contents that it has only read."""
    return await _record(looks, known, _without_content_locks(ports))


async def read_images(tx: CatalogTransaction, image_ids: Collection[str]) -> list[ImageRecord]:
    """Locks nothing."""
    unlocked: Any = Unlocked(tx, images=True)
    return await _lock_images(unlocked, image_ids)


async def publish_read(
    tx: CatalogTransaction, images: Collection[ImageRecord], contents: Contents, ports: PublishPorts
) -> bool:
    """Sends before it locks."""
    unlocked: Any = Unlocked(tx, images=True)
    return await _publish_locked(unlocked, images, contents, ports)


async def record_present_only(
    looks: Sequence[Look], known: Mapping[ObjectRef, ImageRecord], ports: ObjectPorts
) -> Recorded:
    """Takes what is neither in the bucket nor in the catalog for settled."""
    return await _record_others(
        looks, known, ports, ObjectOutcome.ABSENT, lambda look: look.state is None and look.ref not in known
    )


async def record_changed_only(
    looks: Sequence[Look], known: Mapping[ObjectRef, ImageRecord], ports: ObjectPorts
) -> Recorded:
    """Takes what looks like its row, as that was read before, for settled."""
    return await _record_others(
        looks, known, ports, ObjectOutcome.UNCHANGED, lambda look: _agrees(known.get(look.ref), look)
    )


async def _record_others(
    looks: Sequence[Look],
    known: Mapping[ObjectRef, ImageRecord],
    ports: ObjectPorts,
    outcome: ObjectOutcome,
    is_settled: Callable[[Look], bool],
) -> Recorded:
    settled = {look.ref: outcome for look in looks if is_settled(look)}
    recorded = await _record([look for look in looks if look.ref not in settled], known, ports)
    return replace(recorded, outcomes={**recorded.outcomes, **settled})


async def look_once(looks: Sequence[Look], images: Images, objects: ObjectReader) -> Sequence[Look]:
    """Believes the first look."""
    for bucket in {seen.ref.bucket for seen in looks}:
        await objects.check(bucket)
    return [seen for seen in looks if seen.image_id in images]


# Announcements that count as looked at.


def same_bytes_suffice(hint: ObjectHint, image: ImageRecord) -> bool:
    """Takes any announcement of the bytes that the row names for the one that it has looked at."""
    return _looked_at_already(hint._replace(sequencer=image.sequencer), image)


def record_newest_sequencer(
    looks: Sequence[Look], images: Images, now: datetime, ports: ObjectPorts
) -> dict[str, ImageRecord]:
    """Records the newest sequencer of each object, though it was looked at before that was announced."""
    world: Any = ports.clock
    newest = [replace(look, hint=look.hint._replace(sequencer=world.sequencers.get(look.ref))) for look in looks]
    return _recorded_images(newest, images, now, ports)


async def observe_without_doubt(hint: ObjectHint, known: ImageRecord | None, ports: LookPorts) -> Look | None:
    """Trusts the digest of a row that the object looks like."""
    return await _observe(hint._replace(reread=False), known, ports)


def agrees_by_looks(image: ImageRecord | None, look: Look) -> bool:
    """Does not compare digests."""
    return _agrees(image, replace(look, was_read=False))


# References and lives of a content.


def gain_without_restart(content: ContentRecord, vector_id: int, now: datetime, wait: timedelta) -> ContentRecord:
    """Leaves a content that is being deleted in that state."""
    if content.state is ContentState.DELETING:
        return lifecycle.mark_dirty(content, now, wait)
    return _gain_reference(content, vector_id, now, wait)


def gain_unmarked(content: ContentRecord, vector_id: int, now: datetime, wait: timedelta) -> ContentRecord:
    """The change without its mark."""
    return _unmarked(_gain_reference(content, vector_id, now, wait), content)


def lose_unmarked(content: ContentRecord, now: datetime, wait: timedelta) -> ContentRecord:
    """The change without its mark."""
    return _unmarked(_lose_reference(content, now, wait), content)


def _unmarked(changed: ContentRecord, before: ContentRecord) -> ContentRecord:
    return replace(changed, dirty_since=before.dirty_since, resend_due=before.resend_due)


def restart_under_the_old_id(content: ContentRecord, vector_id: int) -> ContentRecord:
    """Keeps the vector id."""
    return replace(_restart(content, vector_id), vector_id=content.vector_id, retired=content.retired)


def restart_without_memory(content: ContentRecord, vector_id: int) -> ContentRecord:
    """Forgets the vector of the former life."""
    return replace(_restart(content, vector_id), retired=content.retired)


def concerned_by_the_new(looks: Sequence[Look], images: Images) -> tuple[dict[ContentId, Digest], set[ContentId]]:
    """Forgets what an image leaves when it comes to something else."""
    gained, _ = _concerned(looks, images)
    _, lost = _concerned([look for look in looks if look.content_id is None], images)
    return gained, lost


# Fences.


def awaits_any(content: ContentRecord | None, read: ContentRecord) -> bool:
    """Takes any life of the content for the one that was read."""
    return content is not None and content.state is ContentState.PENDING and content.id == read.id


def always_deletable(content: ContentRecord, read: ContentRecord) -> bool:
    """Whatever its state and vector id are by now."""
    return content.id == read.id


def clear_any_version(content: ContentRecord, read: ContentRecord) -> ContentRecord:
    """Whatever has happened since."""
    return _clear_dirty(content, replace(read, version=content.version))


def any_bytes(data: bytes, content: ContentRecord) -> str | None:
    """Does not compare."""
    return digest_of(data).md5 if content.sha256 else None


# Vectors.


async def remove_row_first(contents: Collection[ContentRecord], ports: DecisionPorts) -> None:
    """The two steps in the wrong order."""
    read = {content.id: content for content in contents}
    async with ports.catalog.transaction() as tx:
        rows = await tx.lock_contents(read)
        await tx.delete_contents([row.id for row in rows.values() if lifecycle.is_deletable(row, read[row.id])])
    await ports.reached(Step.VECTOR_DELETED)
    await ports.served.delete([content.vector_id for content in contents])


async def forget_retired_first(contents: Collection[ContentRecord], ports: DecisionPorts) -> None:
    """The two steps in the wrong order."""
    retired = [vector_id for content in contents for vector_id in content.retired]
    async with ports.catalog.transaction() as tx:
        rows = await tx.lock_contents([content.id for content in contents if content.retired])
        await tx.save_contents([lifecycle.forget_retired(row, retired) for row in rows.values()])
    await ports.reached(Step.DELETING_COMMITTED)
    await ports.served.delete(retired)


async def nothing_is_stale(tx: CatalogTransaction, vector_ids: set[int]) -> set[int]:
    """Leaves everything where it is."""
    await tx.carried_vectors(vector_ids)
    return set()


async def stale_without_row(tx: CatalogTransaction, vector_ids: set[int]) -> set[int]:
    """Any row carries its vector, whatever its state is."""
    memory: Any = tx
    rows = {**memory._catalog.content_rows, **memory.staged_contents}.values()
    return vector_ids - {row.vector_id for row in rows if row is not None}


async def delete_wholes(self: VectorsWithViews, vector_ids: Sequence[int]) -> None:
    """Forgets the views."""
    async with self._looking() as seen:
        await seen.wholes.delete(vector_ids)


async def upsert_wholes(self: VectorsWithViews, entries: Sequence[VectorEntry]) -> None:
    """Forgets the views."""
    async with self._looking() as seen:
        await seen.wholes.upsert([entry._replace(views=()) for entry in entries])


async def nothing_lacks(self: VectorsWithViews, vector_ids: Collection[int]) -> set[int]:
    """Takes every content for complete."""
    await self.known(vector_ids)
    return set()


# The to-do lists and the change stream.


async def settle_cleared(contents: Collection[ContentRecord], ports: SettlePorts) -> None:
    """Clears the marks and publishes then."""
    read = {content.id: content for content in contents}
    async with ports.catalog.transaction() as tx:
        rows = await converge_contents.lock_contents(tx, read)
        await converge_contents.clear(tx, rows, read)
    await _settle(contents, ports)


def record_object_unmarked(
    image: ImageRecord,
    state: ObjectState,
    sha256: str | None,
    reason: Reason | None,
    sequencer: str | None,
    now: datetime,
    wait: timedelta,
) -> ImageRecord:
    """Does not say that there is something to be published."""
    recorded = _record_object(image, state, sha256, reason, sequencer, now, wait)
    return replace(recorded, publish_due=image.publish_due)


def record_absence_unmarked(image: ImageRecord, sequencer: str | None, now: datetime, wait: timedelta) -> ImageRecord:
    """Does not say that there is something to be published."""
    return replace(_record_absence(image, sequencer, now, wait), publish_due=image.publish_due)


def snapshot_of_the_mark(
    image: ImageRecord,
    content: ContentRecord | None,
    nearby: Mapping[ContentId, list[Reference]],
    clock: Clock,
    copy_threshold: float,
) -> ImageChanged:
    """Sends the version that the row has already."""
    return _snapshot(image, content, nearby, clock, copy_threshold).model_copy(update={"version": image.version})


def always_announced(image: ImageRecord, contents: Contents) -> bool:
    """Takes no mark for needed."""
    return bool(image.id) or image.content_id in contents


def never_erased_late(image: ImageRecord, now: datetime) -> bool:
    """Takes a tombstone that was given up on for one that will never come."""
    return image.version < 0 and image.publish_due == now


async def no_due_contents(now: datetime, ports: SweepPorts) -> list[ContentRecord]:
    """Overlooks what is due."""
    return await ports.catalog.due_contents(now, limit=0)


async def want_nothing(reason: str, catalog: Catalog, clock: Clock, *, bucket: str | None = None) -> None:
    """Writes nothing down."""
    await catalog.progress(f"{reason}:{bucket}:{clock.now()}")


async def retry_nothing(now: datetime, ports: SweepPorts) -> int:
    """Overlooks what is due."""
    return len(await ports.catalog.unreadable_images(now, limit=0))


def never_look_again(image: ImageRecord, now: datetime, retry_wait: timedelta) -> ImageRecord:
    """Sets no time for another look."""
    return replace(image, retry_due=image.retry_due and now + retry_wait)
