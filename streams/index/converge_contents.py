"""Make the vector index agree with contents: the index side's handlers, each for a whole batch.

::

    contents ─► decide ─► fetch and decode ∥ ─► embed ─► store, find nearest ─► record ─► settle

``decide`` says under the rows' locks what each content needs; ``record`` and ``reject`` write the result down, under
the locks again and only for those that still wait for it; ``settle`` publishes the images concerned and takes the
contents off the to-do list. Between any two steps, and within, a worker may die or be overtaken: what was committed
until then is enough for whoever comes next. ``streams.index.batches`` runs the steps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
import structlog

from imaging.decoding import DecodedImage, Pixels
from imaging.digest import digest_of
from imaging.errors import UndecodableImage
from schemas import lifecycle, similarity
from schemas.errors import BucketOutage, ObjectTooLarge, ObjectUnreadable
from schemas.lifecycle import Picture, Rules
from schemas.messages import ContentChanged
from schemas.records import ContentId, ContentRecord, ContentState, Neighbour, ObjectRef, Reason
from schemas.topics import Topics
from stores.broker.ports import Outbox
from stores.catalog.ports import Catalog, CatalogTransaction, Reference
from stores.objects.ports import ObjectReader
from stores.vectors.ports import Vector, VectorEntry, VectorIndex
from streams.common import metrics
from streams.common.checkpoints import Step
from streams.common.hints import content_hint, reread_hint
from streams.common.ports import LOCKED_AT_ONCE, Checkpoint, Clock, NewId, RetryWait, ServedVectors
from streams.common.scope import scoped
from streams.publish import PublishPorts, lock_images, publish_locked

log = structlog.get_logger(__name__)

REFERENCES_TRIED = 100
"""Objects that are read at most in search of one that still holds the content."""
SETTLED_AT_ONCE = 32
"""Transactions in which images are published before others get their turn: of one content, about a thousand images."""
UNREADABLE_TRIED = 3
"""Objects that are found unreadable at most: each may take seconds, for which the batch waits."""

EQUALS_LOOKED_AT = 10
EQUAL_COSINE = 0.9999
"""A vector's cosine with itself, as an index computes it, is above this."""

NO_PIXELS: Pixels = np.empty((0, 0, 3), np.uint8)

type Embedding = Sequence[Vector]
"""The vectors of a content by one model: that of the whole, then those of its views."""

Decode = Callable[[bytes], Awaitable[Sequence[DecodedImage]]]
"""Decode a picture outside the event loop, once for each model that is to embed it. Raises UndecodableImage."""


class ContentOutcome(StrEnum):
    """What a look at a content led to."""

    ABSENT = "absent"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    INDEXED = "indexed"
    BROUGHT_OVER = "brought_over"
    OVERTAKEN = "overtaken"
    REJECTED = "rejected"
    GAVE_UP = "gave_up"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing is left to embed; ``content`` is the row as it is now, None where nothing may be published of it.

    Its version is the one that ``decide`` has read: what happened since keeps the content on the to-do list.
    """

    content_id: ContentId
    outcome: ContentOutcome
    content: ContentRecord | None = None

    @classmethod
    def after_attempt(cls, read: ContentRecord, recorded: ContentRecord | None, outcome: ContentOutcome) -> Settled:
        """What became of an attempt: ``recorded`` as that, or overtaken."""
        if recorded is None:
            return cls(read.id, ContentOutcome.OVERTAKEN)
        return cls(read.id, outcome, replace(recorded, version=read.version))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A content of which an attempt has begun, as its row was committed, and an object that should hold it.

    It is pending; or indexed, and still to be stored for the other model of a switch.
    """

    content: ContentRecord
    reference: Reference

    @property
    def is_new(self) -> bool:
        """Whether it is to be embedded by the model in use, and not only by the other one of a switch."""
        return self.content.state is ContentState.PENDING


@dataclass(frozen=True, slots=True)
class Refused:
    """A content that can't be indexed: it is no picture, or none of its objects can be read."""

    content: ContentRecord
    reason: Reason


@dataclass(frozen=True, slots=True)
class Prepared:
    """A content and its picture, ready to be embedded by each of the models that are to."""

    content: ContentRecord
    images: Sequence[DecodedImage]
    md5: str

    def without_pixels(self) -> Prepared:
        """What is left to keep once it is embedded."""
        return replace(self, images=[replace(image, pixels=NO_PIXELS, views=()) for image in self.images])

    @property
    def picture(self) -> Picture:
        """What the catalog keeps of it."""
        image = self.images[0]
        return Picture(image.width, image.height, image.format, self.md5, image.share)

    @property
    def is_new(self) -> bool:
        """Whether it is embedded by the model in use, and not only by the other one of a switch."""
        return self.content.state is ContentState.PENDING


@dataclass(frozen=True, slots=True)
class Embedded:
    """A content and its vector, which is stored; ``nearest`` are the known contents near it.

    ``objects`` are the oldest object of each of them, and of the content itself, by SHA-256.
    """

    prepared: Prepared
    nearest: tuple[Neighbour, ...]
    objects: Mapping[str, ObjectRef] = field(default_factory=dict)

    @property
    def content(self) -> ContentRecord:
        """The row as it was read."""
        return self.prepared.content


# What a content needs.


@dataclass(frozen=True, slots=True)
class DecisionPorts:
    """What deciding, and carrying out what needs no picture, touches."""

    catalog: Catalog
    served: ServedVectors
    clock: Clock
    reached: Checkpoint
    vector_id: NewId
    wait: timedelta
    """After so long the sweep takes up what no message has finished."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The rows as they were committed, and the oldest image that refers to each.

    ``begun`` are those of which an attempt has begun. ``suspects`` were left alone: attempts at them were begun before,
    and may have taken their process down.
    """

    rows: Mapping[ContentId, ContentRecord]
    references: Mapping[ContentId, Sequence[Reference]]
    begun: Collection[ContentId]
    suspects: Collection[ContentId]


async def decide(
    messages: Collection[ContentChanged], ports: DecisionPorts, rules: Rules, *, suspects_too: bool = False
) -> Decided:
    """Bring each row into the state that it must have now; an attempt at those that are pending has begun then."""
    wanted = {message.content_id: message for message in messages}
    async with ports.catalog.transaction() as tx:
        rows = await lock_contents(tx, wanted)
        await ports.reached(Step.CONTENT_LOCKED)
        suspects = {row.id for row in rows.values() if _was_attempted(row, rules) and not suspects_too}
        rows = {content_id: row for content_id, row in rows.items() if content_id not in suspects}
        references = await tx.oldest_references(rows)
        if any(lifecycle.depends_on_models(row, rules) for row in rows.values()):
            tx.expect_switch(ports.served.switch_version)
        now = ports.clock.now()
        decided = {
            content_id: lifecycle.decide(
                row,
                rules,
                ports.vector_id(),
                now,
                ports.wait,
                referenced=content_id in references,
                retry=wanted[content_id].retry,
            )
            for content_id, row in rows.items()
        }
        await tx.save_contents([row for content_id, row in decided.items() if row != rows[content_id]])
    await ports.reached(Step.ATTEMPT_COMMITTED)
    begun = {
        content_id
        for content_id, row in decided.items()
        if row.state is ContentState.PENDING
        or (row.state is ContentState.INDEXED and row.attempts > rows[content_id].attempts)
    }
    return Decided(decided, references, begun, suspects)


def _was_attempted(content: ContentRecord, rules: Rules) -> bool:
    return lifecycle.was_attempted(content) or lifecycle.was_brought_over(content, rules)


async def lock_contents(tx: CatalogTransaction, content_ids: Collection[ContentId]) -> dict[ContentId, ContentRecord]:
    """Those of the contents that have a row, locked: whether one is still needed is decided under its lock."""
    return await tx.lock_contents(content_ids)


async def delete_retired(contents: Collection[ContentRecord], ports: DecisionPorts) -> None:
    """Delete the vectors under ids that these contents had before.

    Whoever was to delete them may have died, or found the content restarted, before it came to that.
    """
    retired = [vector_id for content in contents for vector_id in content.retired]
    if not retired:
        return
    await ports.served.delete(retired)
    async with ports.catalog.transaction() as tx:
        rows = await tx.lock_contents([content.id for content in contents if content.retired])
        tx.expect_switch(ports.served.switch_version)
        await tx.save_contents([lifecycle.forget_retired(row, retired) for row in rows.values()])


async def remove(contents: Collection[ContentRecord], ports: DecisionPorts) -> None:
    """The vector first, then the row: a row without its vector is healed, a vector without a row is lost sight of."""
    if not contents:
        return
    await ports.reached(Step.DELETING_COMMITTED)
    with metrics.stage("vector"):
        await ports.served.delete([content.vector_id for content in contents])
    await ports.reached(Step.VECTOR_DELETED)
    read = {content.id: content for content in contents}
    async with ports.catalog.transaction() as tx:
        rows = await tx.lock_contents(read)
        tx.expect_switch(ports.served.switch_version)
        await tx.delete_contents([row.id for row in rows.values() if lifecycle.is_deletable(row, read[row.id])])
    await ports.reached(Step.CONTENT_DELETED)


async def without_vector(contents: Collection[ContentRecord], ports: DecisionPorts) -> list[ContentRecord]:
    """Those indexed contents whose vector, or one of whose views, is lost; they are pending again."""
    found = await found_by_search([content.vector_id for content in contents], ports.served.in_use)
    lost = {content.id: content for content in contents if content.vector_id not in found}
    if lost:
        async with ports.catalog.transaction() as tx:
            rows = (await tx.lock_contents(lost)).values()
            now = ports.clock.now()
            await tx.save_contents(
                [
                    lifecycle.mark_dirty(lifecycle.restart(row, ports.vector_id()), now, ports.wait)
                    for row in rows
                    if lifecycle.has_lost(row, lost[row.id])
                ]
            )
    return list(lost.values())


async def without_other_vector(
    contents: Collection[ContentRecord], catalog: Catalog, other_vectors: VectorIndex | None, rules: Rules
) -> None:
    """Forget of indexed contents that they were stored for the other model of a switch, where they are not."""
    other = rules.other_model
    stored = [content for content in contents if other is not None and lifecycle.is_stored_for(content, other)]
    if not stored or other_vectors is None:
        return
    ids = [content.vector_id for content in stored]
    found = await other_vectors.known(ids) - await other_vectors.incomplete(ids)
    lost = {content.id: content for content in stored if content.vector_id not in found}
    if lost:
        async with catalog.transaction() as tx:
            rows = (await tx.lock_contents(lost)).values()
            await tx.save_contents(
                [lifecycle.forget_other(row, rules) for row in rows if lifecycle.has_lost(row, lost[row.id])]
            )


async def found_by_search(vector_ids: Collection[int], vectors: VectorIndex) -> set[int]:
    """Those of the ids whose stored vector a search finds, which is more than that the index knows the id.

    One that lacks a view does not count; whether a search finds its views is not tried.
    Of vectors with more equals than a search returns, each counts as found when its search returns nothing but equals.
    """
    lacking = await vectors.incomplete(vector_ids)
    complete = [vector_id for vector_id in vector_ids if vector_id not in lacking]
    stored = await vectors.get(complete) if complete else {}
    if not stored:
        return set()
    hits = await vectors.search(list(stored.values()), limit=EQUALS_LOOKED_AT, strong=True)
    return {
        vector_id
        for vector_id, row in zip(stored, hits, strict=True)
        if any(hit.vector_id == vector_id for hit in row)
        or (len(row) == EQUALS_LOOKED_AT and row[-1].cosine >= EQUAL_COSINE)
    }


# Getting at its picture.


@dataclass(frozen=True, slots=True)
class FetchPorts:
    """What fetching a picture touches."""

    objects: ObjectReader
    catalog: Catalog
    outbox: Outbox
    topics: Topics
    clock: Clock
    reached: Checkpoint
    max_bytes: int
    """No more of an object is read."""


async def fetch(attempt: Attempt, ports: FetchPorts, decode: Decode) -> Prepared | Refused | None:
    """Read an object that still holds the content, and decode it; None where no object does, or its bucket is away.

    Where an object holds other bytes, a hint has it read again: it has moved on and the catalog does not know yet, or
    its digest was misread.
    """
    tried: set[ObjectRef] = set()
    unreadable: list[Reason] = []
    references = [attempt.reference]
    while references and len(unreadable) < UNREADABLE_TRIED:
        for reference in references:
            tried.add(reference.ref)
            try:
                data = await scoped(reference.ref, lambda ref=reference.ref: _read(ref, ports), ports.objects)  # type: ignore[misc]
            except BucketOutage as error:
                log.warning("bucket_away", bucket=error.bucket, error=str(error))
                return None
            except ObjectUnreadable as error:
                unreadable.append(Reason(lifecycle.UNREADABLE, error.code))
                if len(unreadable) == UNREADABLE_TRIED:
                    break
                continue
            if data is not None and (md5 := matching_md5(data, attempt.content)) is not None:
                return await _decode(attempt.content, data, md5, ports, decode)
            await ports.outbox.send([reread_hint(reference.ref, ports.topics, ports.clock)])
        content_id = attempt.content.id
        async with ports.catalog.transaction() as tx:
            found = (await tx.oldest_references([content_id], limit=REFERENCES_TRIED)).get(content_id, [])
        references = [reference for reference in found if reference.ref not in tried]
    return Refused(attempt.content, unreadable[0]) if unreadable else None


def matching_md5(data: bytes, content: ContentRecord) -> str | None:
    """The MD5 of the bytes, if they are the content's."""
    digest = digest_of(data)
    return digest.md5 if digest.sha256 == content.sha256 else None


async def _read(ref: ObjectRef, ports: FetchPorts) -> bytes | None:
    buffer = bytearray()
    try:
        with metrics.stage("download"):
            state = await ports.objects.read(ref, buffer.extend, max_bytes=ports.max_bytes)
    except ObjectTooLarge:
        return None
    return bytes(buffer) if state is not None else None


async def _decode(
    content: ContentRecord, data: bytes, md5: str, ports: FetchPorts, decode: Decode
) -> Prepared | Refused:
    await ports.reached(Step.CONTENT_FETCHED)
    try:
        with metrics.stage("decode"):
            images = await decode(data)
    except UndecodableImage as error:
        return Refused(content, Reason(error.reason, error.detail))
    await ports.reached(Step.CONTENT_DECODED)
    return Prepared(content, images, md5)


async def refund(contents: Collection[ContentRecord], catalog: Catalog) -> None:
    """Take attempts back: they ended for a reason that lay elsewhere."""
    if not contents:
        return
    read = {content.id: content for content in contents}
    async with catalog.transaction() as tx:
        rows = await tx.lock_contents(read)
        await tx.save_contents([lifecycle.refund_attempt(row, read[row.id]) for row in rows.values()])


@dataclass(frozen=True, slots=True)
class RecordPorts:
    """What recording the result of an attempt touches."""

    catalog: Catalog
    served: ServedVectors
    clock: Clock
    reached: Checkpoint
    limits: str
    """Names the limits that a rejection was decided under."""
    retry_wait: RetryWait


async def reject(refused: Collection[Refused], ports: RecordPorts) -> list[Settled]:
    """Record that contents can't be indexed, and why; a vector that one had before is deleted."""
    if not refused:
        return []
    read = {item.content.id: item for item in refused}
    async with ports.catalog.transaction() as tx:
        rows = await tx.lock_contents(read)
        tx.expect_switch(ports.served.switch_version)
        now = ports.clock.now()
        rejected = {
            content_id: _rejected(rows[content_id], item.reason, now, ports)
            for content_id, item in read.items()
            if lifecycle.awaits(rows.get(content_id), item.content)
        }
        await tx.save_contents(rejected.values())
    await ports.reached(Step.REJECTED_COMMITTED)
    for content_id in rejected:
        metrics.REJECTIONS.labels(read[content_id].reason.slug).inc()
    await ports.served.delete([row.vector_id for row in rejected.values()])
    return [
        Settled.after_attempt(item.content, rejected.get(content_id), ContentOutcome.REJECTED)
        for content_id, item in read.items()
    ]


def _rejected(row: ContentRecord, reason: Reason, now: datetime, ports: RecordPorts) -> ContentRecord:
    if lifecycle.is_unreadable(reason):
        return lifecycle.reject_unreadable(row, reason, ports.limits, now, ports.retry_wait(reason))
    return lifecycle.reject(row, reason, ports.limits, now)


# Storing and recording its vector.


@dataclass(frozen=True, slots=True)
class StorePorts:
    """What storing vectors, and finding those near them, touches."""

    vectors: VectorIndex
    catalog: Catalog
    reached: Checkpoint
    copy_threshold: float


async def store_other(batch: Sequence[tuple[Prepared, Embedding]], served: ServedVectors) -> None:
    """Store the vectors that the other model of a switch made, in its collection. Safe to repeat."""
    if batch and served.other is not None:
        with metrics.stage("vector"):
            await served.other.upsert([_entry(item, vectors) for item, vectors in batch])


def _entry(item: Prepared, vectors: Embedding) -> VectorEntry:
    return VectorEntry(item.content.vector_id, item.content.bucket, vectors[0], vectors[1:])


async def store(batch: Sequence[tuple[Prepared, Embedding]], ports: StorePorts, nearest: int) -> list[Embedded]:
    """Store the vectors, and find the ``nearest`` known contents of each. Safe to repeat."""
    with metrics.stage("vector"):
        await ports.vectors.upsert([_entry(item, vectors) for item, vectors in batch])
        await ports.reached(Step.VECTOR_STORED)
        neighbours = await _nearest(batch, ports, nearest)
    return [Embedded(item, *neighbours.get(item.content.id, ((), {}))) for item, _ in batch]


async def _nearest(
    batch: Sequence[tuple[Prepared, Embedding]], ports: StorePorts, nearest: int
) -> Mapping[ContentId, tuple[tuple[Neighbour, ...], Mapping[str, ObjectRef]]]:
    """The nearest known contents of each by their wholes, and their objects; Strong, so that it holds for the last
    seconds too.
    """
    found: dict[ContentId, tuple[tuple[Neighbour, ...], Mapping[str, ObjectRef]]] = {}
    if nearest == 0:
        return found
    for bucket in {item.content.bucket for item, _ in batch}:
        mine = [(item.content, vectors[0]) for item, vectors in batch if item.content.bucket == bucket]
        hits = await ports.vectors.search([vector for _, vector in mine], limit=nearest + 1, bucket=bucket, strong=True)
        near_ids = {hit.vector_id for row in hits for hit in row}
        carriers = await ports.catalog.carriers(near_ids | {content.vector_id for content, _ in mine})
        objects = {each.content_id.sha256: each.oldest for each in carriers.values() if each.oldest is not None}
        for (content, _), row in zip(mine, hits, strict=True):
            others = tuple(
                Neighbour(
                    carriers[hit.vector_id].content_id.sha256,
                    round(similarity.score(hit.cosine), 2),
                    ports.copy_threshold,
                )
                for hit in row
                if hit.vector_id in carriers and carriers[hit.vector_id].content_id != content.id
            )
            found[content.id] = others[:nearest], objects
    return found


async def record(batch: Sequence[Embedded], ports: RecordPorts, rules: Rules) -> list[Settled]:
    """Record contents as indexed; a vector that nobody waits for any more is deleted again. Safe to repeat."""
    read = {item.content.id: item for item in batch}
    with metrics.stage("sql"):
        async with ports.catalog.transaction() as tx:
            rows = await tx.lock_contents(read)
            tx.expect_switch(ports.served.switch_version)
            now = ports.clock.now()
            indexed = {
                content_id: lifecycle.record_indexed(
                    rows[content_id],
                    item.prepared.picture,
                    rules.model_name,
                    item.nearest,
                    now,
                    other_model=rules.other_model,
                )
                for content_id, item in read.items()
                if lifecycle.awaits(rows.get(content_id), item.content)
            }
            await tx.save_contents(indexed.values())
            overtaken = {item.content.vector_id for content_id, item in read.items() if content_id not in indexed}
            stale = await stale_vectors(tx, overtaken)
    await ports.reached(Step.INDEXED_COMMITTED)
    if stale:
        await ports.served.delete(sorted(stale))
    return [
        Settled.after_attempt(item.content, indexed.get(content_id), ContentOutcome.INDEXED)
        for content_id, item in read.items()
    ]


async def record_other(batch: Sequence[Prepared], ports: RecordPorts, rules: Rules) -> list[Settled]:
    """Record that contents are stored for the other model of a switch, too. Safe to repeat."""
    read = {item.content.id: item.content for item in batch}
    async with ports.catalog.transaction() as tx:
        rows = await tx.lock_contents(read)
        tx.expect_switch(ports.served.switch_version)
        recorded = {
            content_id: lifecycle.record_other(rows[content_id], rules)
            for content_id, content in read.items()
            if lifecycle.awaits_other(rows.get(content_id), content)
        }
        await tx.save_contents(recorded.values())
        overtaken = {content.vector_id for content_id, content in read.items() if content_id not in recorded}
        stale = await stale_vectors(tx, overtaken)
    if stale:
        await ports.served.delete(sorted(stale))
    return [
        Settled.after_attempt(content, recorded.get(content_id), ContentOutcome.BROUGHT_OVER)
        for content_id, content in read.items()
    ]


async def discard(contents: Collection[ContentRecord], catalog: Catalog, served: ServedVectors) -> None:
    """Delete the vectors that were stored for these contents and that none carries: nobody else looks after them."""
    if contents:
        async with catalog.transaction() as tx:
            stale = await stale_vectors(tx, {content.vector_id for content in contents})
        await served.delete(sorted(stale))


async def stale_vectors(tx: CatalogTransaction, vector_ids: set[int]) -> set[int]:
    """Those of the stored vectors that no content carries."""
    return vector_ids - await tx.carried_vectors(vector_ids) if vector_ids else set()


@dataclass(frozen=True, slots=True)
class SettlePorts:
    """What settling touches: publishing, and the queue for what is left."""

    catalog: Catalog
    publishing: PublishPorts
    outbox: Outbox
    topics: Topics
    reached: Checkpoint


async def settle(contents: Collection[ContentRecord], ports: SettlePorts) -> None:
    """Publish the images that refer to these contents, as far as their last snapshot tells something else.

    Then take the contents off the to-do list, unless something happened to one since it was read. Safe to repeat. A
    content of very many images gives way to others after SETTLED_AT_ONCE transactions: a message of its own, at the end
    of the queue, goes on with the rest.
    """
    read = {content.id: content for content in contents}
    left = {content.id: lifecycle.published_state_of(content) for content in contents}
    for _ in range(SETTLED_AT_ONCE):
        if left:
            with metrics.stage("publish"):
                left = await _settle_some(left, read, ports)
            await ports.reached(Step.IMAGE_PUBLISHED)
    await ports.outbox.send([content_hint(content_id, ports.topics) for content_id in left])
    await ports.reached(Step.CONTENT_CLEARED)


async def _settle_some(
    states: Mapping[ContentId, str], read: Mapping[ContentId, ContentRecord], ports: SettlePorts
) -> dict[ContentId, str]:
    """Publish some images of each content, and settle those contents that have no more; what is left."""
    each = max(1, LOCKED_AT_ONCE // len(states))
    async with ports.catalog.transaction() as tx:
        found = await tx.unpublished_references(states, limit=each + 1)
        images = await lock_images(tx, [image_id for ids in found.values() for image_id in ids[:each]])
        rows = await lock_contents(tx, states)
        # What refers to another content by now, or to one in another state, is left to whoever moved it.
        settling = {
            content_id: row
            for content_id, row in rows.items()
            if lifecycle.published_state_of(row) == states[content_id]
        }
        mine = [image for image in images if image.content_id in settling]
        if not await publish_locked(tx, mine, settling, ports.publishing):
            return dict(states)
        done = {content_id: row for content_id, row in settling.items() if len(found.get(content_id, ())) <= each}
        await clear(tx, done, read)
    return {content_id: states[content_id] for content_id in settling if content_id not in done}


async def clear(
    tx: CatalogTransaction, rows: Mapping[ContentId, ContentRecord], read: Mapping[ContentId, ContentRecord]
) -> None:
    """Take locked contents off the to-do list, unless something happened to one since it was read."""
    cleared = [lifecycle.clear_dirty(row, read[content_id]) for content_id, row in rows.items()]
    await tx.save_contents([row for row in cleared if row != rows[row.id]])
