"""Make the vector index agree with one content: the index side's handlers, in three steps.

``prepare`` decides under the content's lock and ends with decoded pixels; ``store`` writes vectors and records
them; ``settle`` publishes the images concerned and clears the dirty mark. Between any two steps, and within, a
worker may die or be overtaken: what was committed until then is enough for whoever comes next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from imaging.decoding import DecodedImage
from imaging.digest import digest_of
from imaging.errors import UndecodableImage
from schemas import similarity
from schemas.errors import ObjectTooLarge, Outage
from schemas.messages import ContentChanged, bucket_event, encode_key
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, Neighbour, ObjectRef
from stores.broker.ports import OutgoingMessage
from stores.catalog.ports import CatalogTransaction
from stores.vectors.ports import Vector, VectorEntry
from streams import metrics
from streams.ports import Ports
from streams.publish import expected_state, publish_images
from streams.steps import Step

REFERENCES_TRIED = 100
"""Objects that are read at most in search of one that still holds the content."""
PUBLISHED_AT_ONCE = 200
REASON_MAX = 500

Decode = Callable[[bytes], Awaitable[DecodedImage]]
"""Decode a picture outside the event loop. Raises UndecodableImage."""


class ContentOutcome(StrEnum):
    """What a look at a content led to."""

    ABSENT = "absent"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    INDEXED = "indexed"
    OVERTAKEN = "overtaken"
    REJECTED = "rejected"
    GAVE_UP = "gave_up"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing is left to embed; ``content`` is the row as it was read, None where there is none."""

    content_id: ContentId
    outcome: ContentOutcome
    content: ContentRecord | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A pending content, as it was read, and its picture, ready to be embedded."""

    content: ContentRecord
    image: DecodedImage
    md5: str
    event_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class IndexPolicy:
    """What the index side decides by."""

    model_id: str
    max_attempts: int
    nearest: int


async def prepare(message: ContentChanged, ports: Ports, policy: IndexPolicy, decode: Decode) -> Prepared | Settled:
    """Decide what a content needs, and do it up to the decoded pixels. Raises Outage; anything else is a bug."""
    content_id = message.content_id
    async with ports.catalog.transaction() as tx:
        content = await tx.lock_content(content_id)
        await ports.reached(Step.CONTENT_LOCKED)
        if content is None:
            return Settled(content_id, ContentOutcome.ABSENT)
        content = await _decide(tx, content, message, ports, policy)
    if content.retired:
        await _delete_retired(content, ports)
    match content.state:
        case ContentState.DELETING:
            await ports.reached(Step.DELETING_COMMITTED)
            await _remove(content, ports)
            return Settled(content_id, ContentOutcome.REMOVED)
        case ContentState.REJECTED:
            return await _rejected(content, ports)
        case ContentState.INDEXED:
            if not message.verify or await _has_vector(content, ports):
                return Settled(content_id, ContentOutcome.UNCHANGED, content)
            return await prepare(message, ports, policy, decode)
    await ports.reached(Step.ATTEMPT_COMMITTED)
    try:
        return await _fetch(content, message.event_time, ports, decode)
    except Outage:
        await forgive([content], ports)
        raise


async def _decide(
    tx: CatalogTransaction, content: ContentRecord, message: ContentChanged, ports: Ports, policy: IndexPolicy
) -> ContentRecord:
    """The locked row in the state that it must have now, saved."""
    decided = content
    if not await tx.references(content.id, limit=1):
        decided = content.but(state=ContentState.DELETING)
    elif content.state is ContentState.DELETING:
        # Whoever adds a reference leaves ``deleting`` in the same transaction, so this can't be seen.
        raise AssertionError(f"{content.id} is being deleted though an image refers to it")
    elif (content.state is ContentState.REJECTED and (message.retry or content.limits != ports.limits.fingerprint)) or (
        content.state is ContentState.INDEXED and content.model != policy.model_id
    ):
        decided = ports.reborn(content)
    if decided.state is ContentState.PENDING:
        if decided.attempts >= policy.max_attempts:
            reason = f"gave_up: {decided.attempts} attempts ended without a result"
            decided = _as_rejected(decided, reason, ports)
        else:
            decided = decided.but(attempts=decided.attempts + 1)
    if decided.state is not content.state:
        # Also where a message came for a row that was not dirty (a retry, say): now the work is on the to-do list.
        decided = ports.dirty(decided, ports.clock.now())
    if decided != content:
        await tx.save_content(decided)
    return decided


async def _delete_retired(content: ContentRecord, ports: Ports) -> None:
    """Delete the vectors under ids that the content had before.

    Whoever was to delete them may have died, or found the content born again, before it came to that.
    """
    await ports.vectors.delete(content.retired)
    async with ports.catalog.transaction() as tx:
        row = await tx.lock_content(content.id)
        if row is not None and set(row.retired) & set(content.retired):
            left = tuple(vector_id for vector_id in row.retired if vector_id not in content.retired)
            await tx.save_content(row.but(retired=left))


async def _remove(content: ContentRecord, ports: Ports) -> None:
    """The vector first, then the row: a row without its vector is healed, a vector without a row is lost sight of."""
    with metrics.stage("vector"):
        await ports.vectors.delete([content.vector_id])
    await ports.reached(Step.VECTOR_DELETED)
    async with ports.catalog.transaction() as tx:
        row = await tx.lock_content(content.id)
        if row is not None and row.state is ContentState.DELETING and row.vector_id == content.vector_id:
            await tx.delete_content(content.id)
    await ports.reached(Step.CONTENT_DELETED)


async def _rejected(content: ContentRecord, ports: Ports) -> Settled:
    """A rejected content has no vector; one may be left from before."""
    await ports.vectors.delete([content.vector_id])
    gave_up = (content.reason or "").startswith("gave_up") and content.dirty_since is not None
    return Settled(content.id, ContentOutcome.GAVE_UP if gave_up else ContentOutcome.REJECTED, content)


async def _has_vector(content: ContentRecord, ports: Ports) -> bool:
    """Whether the vector is there; if not, the content is pending again."""
    if await ports.vectors.get([content.vector_id]):
        return True
    async with ports.catalog.transaction() as tx:
        row = await tx.lock_content(content.id)
        if row is not None and row.state is ContentState.INDEXED and row.vector_id == content.vector_id:
            await tx.save_content(ports.dirty(ports.reborn(row), ports.clock.now()))
    return False


async def _fetch(
    content: ContentRecord, event_time: datetime | None, ports: Ports, decode: Decode
) -> Prepared | Settled:
    """Read an object that still holds the content, and decode it."""
    async with ports.catalog.transaction() as tx:
        references = await tx.references(content.id, limit=REFERENCES_TRIED)
    for image in references:
        data = await _read(image.ref, ports)
        digest = digest_of(data) if data is not None else None
        if data is None or digest is None or digest.sha256 != content.sha256:
            await _hint(image, ports)
            continue
        await ports.reached(Step.CONTENT_FETCHED)
        try:
            with metrics.stage("decode"):
                decoded = await decode(data)
        except UndecodableImage as error:
            return await reject(content, f"{error.reason}: {error.detail}", ports)
        await ports.reached(Step.CONTENT_DECODED)
        return Prepared(content, decoded, digest.md5, event_time)
    await forgive([content], ports)
    return Settled(content.id, ContentOutcome.WAITING)


async def _read(ref: ObjectRef, ports: Ports) -> bytes | None:
    buffer = bytearray()
    try:
        with metrics.stage("download"):
            state = await ports.objects.read(ref, buffer.extend, max_bytes=ports.limits.max_object_bytes)
    except ObjectTooLarge:
        return None
    return bytes(buffer) if state is not None else None


async def _hint(image: ImageRecord, ports: Ports) -> None:
    """The object has moved on and the catalog does not know yet."""
    event = bucket_event(image.ref, event_name="twinlens:ObjectMovedOn", event_time=ports.clock.now())
    await ports.outbox.send([OutgoingMessage(ports.topics.bucket_events, encode_key(image.ref), event)])


def _as_rejected(content: ContentRecord, reason: str, ports: Ports) -> ContentRecord:
    return content.but(
        state=ContentState.REJECTED,
        reason=reason[:REASON_MAX],
        limits=ports.limits.fingerprint,
        model=None,
        nearest=(),
        indexed_at=ports.clock.now(),
    )


async def reject(content: ContentRecord, reason: str, ports: Ports) -> Settled:
    """Record that the picture can't be indexed, and why."""
    async with ports.catalog.transaction() as tx:
        row = await tx.lock_content(content.id)
        if row is None or row.state is not ContentState.PENDING or row.vector_id != content.vector_id:
            return Settled(content.id, ContentOutcome.OVERTAKEN)
        rejected = _as_rejected(row, reason, ports)
        await tx.save_content(rejected)
    await ports.reached(Step.REJECTED_COMMITTED)
    metrics.REJECTIONS.labels(reason.partition(":")[0]).inc()
    return await _rejected(content.but(state=ContentState.REJECTED, reason=reason), ports)


async def forgive(contents: Sequence[ContentRecord], ports: Ports) -> None:
    """Take an attempt back: it ended for a reason that lay elsewhere."""
    for content in contents:
        async with ports.catalog.transaction() as tx:
            row = await tx.lock_content(content.id)
            if row is not None and row.vector_id == content.vector_id and row.attempts > 0:
                await tx.save_content(row.but(attempts=row.attempts - 1))


async def store(batch: Sequence[tuple[Prepared, Vector]], ports: Ports, policy: IndexPolicy) -> list[Settled]:
    """Store the vectors and record them as indexed; a vector that nobody waits for any more is deleted again."""
    if not batch:
        return []
    with metrics.stage("vector"):
        await ports.vectors.upsert(
            [VectorEntry(item.content.vector_id, item.content.bucket, vector) for item, vector in batch]
        )
    await ports.reached(Step.VECTOR_STORED)
    nearest = await _nearest(batch, ports, policy)
    settled: list[Settled] = []
    stale: list[int] = []
    now = ports.clock.now()
    with metrics.stage("sql"):
        async with ports.catalog.transaction() as tx:
            for item, _ in sorted(batch, key=lambda entry: entry[0].content.id):
                outcome = await _record(tx, item, nearest[item.content.vector_id], now, policy)
                settled.append(Settled(item.content.id, outcome, item.content))
                if outcome is ContentOutcome.OVERTAKEN and not await tx.vector_is_carried(item.content.vector_id):
                    stale.append(item.content.vector_id)
    await ports.reached(Step.INDEXED_COMMITTED)
    if stale:
        await ports.vectors.delete(stale)
    return settled


async def _record(
    tx: CatalogTransaction, item: Prepared, nearest: tuple[Neighbour, ...], now: datetime, policy: IndexPolicy
) -> ContentOutcome:
    row = await tx.lock_content(item.content.id)
    if row is None or row.state is not ContentState.PENDING or row.vector_id != item.content.vector_id:
        return ContentOutcome.OVERTAKEN
    await tx.save_content(
        row.but(
            state=ContentState.INDEXED,
            model=policy.model_id,
            attempts=0,
            md5=item.md5,
            width=item.image.width,
            height=item.image.height,
            format=item.image.format,
            nearest=nearest,
            indexed_at=now,
        )
    )
    if item.event_time is not None:
        metrics.SEARCHABLE_SECONDS.observe(max(0.0, (now - item.event_time).total_seconds()))
    return ContentOutcome.INDEXED


async def _nearest(
    batch: Sequence[tuple[Prepared, Vector]], ports: Ports, policy: IndexPolicy
) -> dict[int, tuple[Neighbour, ...]]:
    """The nearest known contents of each, by vector id; Strong, so that it holds for the last seconds too."""
    found: dict[int, tuple[Neighbour, ...]] = {item.content.vector_id: () for item, _ in batch}
    if policy.nearest == 0:
        return found
    for bucket in {item.content.bucket for item, _ in batch}:
        mine = [(item, vector) for item, vector in batch if item.content.bucket == bucket]
        hits = await ports.vectors.search(
            [vector for _, vector in mine], limit=policy.nearest + 1, bucket=bucket, strong=True
        )
        carriers = await ports.catalog.contents_by_vector({hit.vector_id for row in hits for hit in row})
        for (item, _), row in zip(mine, hits, strict=True):
            found[item.content.vector_id] = tuple(
                Neighbour(carriers[hit.vector_id].sha256, round(similarity.score(hit.cosine), 2))
                for hit in row
                if hit.vector_id in carriers and carriers[hit.vector_id].id != item.content.id
            )[: policy.nearest]
    return found


async def _publish_references(content_id: ContentId, ports: Ports) -> None:
    """Publish the images that refer to the content, as far as their last snapshot is not the truth any more."""
    row = (await ports.catalog.contents([content_id])).get(content_id)
    if row is None:
        return
    after, told = "", expected_state(row)
    while ids := await ports.catalog.unpublished_ids(
        content_id, published_state=told, after=after, limit=PUBLISHED_AT_ONCE
    ):
        await publish_images(ids, ports)
        after = ids[-1]


async def settle(settled: Settled, ports: Ports) -> None:
    """Publish the images that refer to the content, then clear its dirty mark if nothing happened since it was read."""
    metrics.CONTENTS.labels(settled.outcome).inc()
    content = settled.content
    if content is None or settled.outcome is ContentOutcome.OVERTAKEN:
        return
    with metrics.stage("publish"):
        await _publish_references(content.id, ports)
    await ports.catalog.clear_dirty(content.id, version=content.version, vector_id=content.vector_id)
    await ports.reached(Step.CONTENT_CLEARED)
