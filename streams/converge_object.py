"""Make the catalog agree with one object: the ingest side's handler.

An event is a hint to look. The object's present state is read, and written down by whoever has seen it *while
holding the image's row*: so the last writer of a row is right, whatever the order of the events.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from urllib.parse import unquote

from imaging.digest import Digest, Digester
from schemas.errors import ObjectTooLarge, TwinlensError
from schemas.messages import ContentChanged, ObjectHint, encode_key
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ObjectRef, ObjectState
from stores.broker.ports import OutgoingMessage
from stores.catalog.ports import CatalogTransaction
from stores.objects.ports import EXTERNAL_ID
from streams import metrics
from streams.ports import Ports
from streams.publish import next_version, publish_images
from streams.steps import Step

METADATA_MAX_BYTES = 2048
"""S3's own limit for user metadata."""
EXTERNAL_ID_MAX = 255
REASON_MAX = 500


class ObjectOutcome(StrEnum):
    """What a look at an object led to."""

    UNCHANGED = "unchanged"
    ABSENT = "absent"
    STORED = "stored"
    REJECTED = "rejected"
    REMOVED = "removed"


class ObjectMovedOn(TwinlensError):
    """The object is not the one that was read any more: look again."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at an object: its state, and the digest of its bytes unless it is gone or rejected."""

    state: ObjectState | None
    digest: Digest | None = None
    reason: str | None = None

    def content_id(self, bucket: str) -> ContentId | None:
        """The content that the object holds."""
        return ContentId(bucket, self.digest.sha256) if self.digest else None


@dataclass(frozen=True, slots=True)
class Change:
    """What was committed: the outcome, whether the image has to be published, and the contents to look at."""

    outcome: ObjectOutcome
    publish: bool = False
    dirty: tuple[ContentId, ...] = ()


async def converge_object(hint: ObjectHint, ports: Ports) -> ObjectOutcome:
    """Look at an object and make the catalog agree. Safe to call any number of times, by several workers at once.

    Raises Outage (call again) and nothing else on purpose.
    """
    while True:
        try:
            change = await _look_and_record(hint.ref, ports)
            break
        except ObjectMovedOn:
            continue
    await _announce(hint, change, ports)
    return change.outcome


async def give_up_on_object(ref: ObjectRef, error: Exception, ports: Ports) -> None:
    """Record an object as rejected because handling it failed for a reason that is a bug. Raises what it meets."""
    state = await ports.objects.head(ref)
    reason = f"gave_up: {type(error).__name__}: {error}"[:REASON_MAX]
    async with ports.catalog.transaction() as tx:
        change = await _record(tx, ref, Look(state, reason=reason if state else None), ports)
    await _announce(ObjectHint(ref), change, ports)


async def _look_and_record(ref: ObjectRef, ports: Ports) -> Change:
    seen = await ports.objects.head(ref)
    await ports.reached(Step.OBJECT_SEEN)
    known = await ports.catalog.image(ref)
    if seen and known and _agrees(known, seen, ports) and await _still_agrees(seen, ports):
        return Change(ObjectOutcome.UNCHANGED)
    look = await _look(ref, seen, known, ports)
    await ports.reached(Step.OBJECT_READ)
    with metrics.stage("sql"):
        async with ports.catalog.transaction() as tx:
            change = await _record(tx, ref, look, ports)
    if change.outcome is ObjectOutcome.REJECTED:
        metrics.REJECTIONS.labels(look.reason).inc()
    await ports.reached(Step.OBJECT_COMMITTED)
    return change


def _agrees(known: ImageRecord, seen: ObjectState, ports: Ports) -> bool:
    return (
        known.fingerprint == seen.fingerprint
        and known.reason == object_rejection(seen, ports)
        and _described(known, seen) == known
    )


async def _still_agrees(seen: ObjectState, ports: Ports) -> bool:
    """Whether the row agrees while nobody else is about to change it.

    Last-Modified counts whole seconds, so A looks the same before and after a B that was put within the same second,
    and another worker may have seen that B and be about to commit it.
    """
    async with ports.catalog.transaction() as tx:
        rows = await tx.lock_images([seen.ref.image_id])
    return bool(rows) and _agrees(rows[0], seen, ports)


def object_rejection(state: ObjectState, ports: Ports) -> str | None:
    """Why an object can't be a picture, as far as its size tells."""
    if state.size == 0:
        return "empty"
    return ObjectTooLarge.reason if state.size > ports.limits.max_object_bytes else None


async def _look(ref: ObjectRef, seen: ObjectState | None, known: ImageRecord | None, ports: Ports) -> Look:
    """Read the object, unless its state alone tells all there is to know."""
    if seen is None:
        return Look(None)
    reason = object_rejection(seen, ports)
    if reason is not None:
        return Look(seen, reason=reason)
    if known is not None and known.sha256 is not None and known.fingerprint == seen.fingerprint:
        return Look(seen, Digest(sha256=known.sha256, md5="", size=seen.size))
    digester = Digester()
    with metrics.stage("download"), _moved_on_when_too_large():
        read = await ports.objects.read(ref, digester.update, max_bytes=ports.limits.max_object_bytes)
    if read is None or read.size == 0:
        raise ObjectMovedOn(f"{ref} changed between two looks")
    return Look(read, digester.result())


@contextmanager
def _moved_on_when_too_large() -> Iterator[None]:
    """It was small enough a moment ago, so another object took its place."""
    try:
        yield
    except ObjectTooLarge as error:
        raise ObjectMovedOn(str(error)) from error


async def _record(tx: CatalogTransaction, ref: ObjectRef, look: Look, ports: Ports) -> Change:
    """Write down a look, if it still holds while the image's row is locked."""
    image = await tx.lock_image(ref, ports.clock.now())
    # Read again, since waiting for the lock may have taken long, and versions must rise in the order of the locks.
    now = ports.clock.now()
    await ports.reached(Step.IMAGE_LOCKED)
    if await ports.objects.head(ref) != look.state:
        raise ObjectMovedOn(f"{ref} changed while its row was being locked")
    if look.state is None:
        return await _record_absence(tx, image, now, ports)
    updated = _described(replace(image, sha256=None, reason=look.reason), look.state)
    dirty = await _move_reference(tx, image, look, now, ports)
    new = look.content_id(ref.bucket)
    updated = replace(
        updated,
        sha256=new.sha256 if new else None,
        etag=look.state.etag,
        size=look.state.size,
        last_modified=look.state.last_modified,
        created_at=image.created_at if image.exists else now,
    )
    await tx.save_image(_changed(updated, now, ports))
    outcome = ObjectOutcome.REJECTED if look.reason else ObjectOutcome.STORED
    return Change(outcome, publish=True, dirty=dirty)


async def _record_absence(tx: CatalogTransaction, image: ImageRecord, now: datetime, ports: Ports) -> Change:
    if image.version == 0:
        await tx.delete_image(image.id)
        return Change(ObjectOutcome.ABSENT)
    if not image.exists:
        return Change(ObjectOutcome.ABSENT, publish=True)
    dirty = await _move_reference(tx, image, Look(None), now, ports)
    tombstone = replace(image, sha256=None, etag=None, size=0, last_modified=None, reason=None)
    await tx.save_image(_changed(tombstone, now, ports))
    return Change(ObjectOutcome.REMOVED, publish=True, dirty=dirty)


async def _move_reference(
    tx: CatalogTransaction, image: ImageRecord, look: Look, now: datetime, ports: Ports
) -> tuple[ContentId, ...]:
    """Lock the content that the image leaves and the one it comes to, in order, and mark both dirty."""
    new = look.content_id(image.bucket)
    if look.state is not None and new == image.content_id and image.fingerprint == look.state.fingerprint:
        return ()
    concerned = sorted({content_id for content_id in (image.content_id, new) if content_id is not None})
    for content_id in concerned:
        if content_id == new and look.digest is not None:
            fresh = ContentRecord(*content_id, vector_id=ports.vector_id(), md5=look.digest.md5 or None, created_at=now)
            content: ContentRecord | None = await tx.lock_or_create_content(fresh)
        else:
            content = await tx.lock_content(content_id)
        await ports.reached(Step.CONTENT_LOCKED)
        if content is None:
            continue
        if content_id == new and content.state is ContentState.DELETING:
            content = ports.reborn(content)
        await tx.save_content(ports.dirty(content, now))
    return tuple(concerned)


def _described(image: ImageRecord, state: ObjectState) -> ImageRecord:
    """The image with what the object's headers say of it."""
    external_id = unquote(state.metadata.get(EXTERNAL_ID, ""))[:EXTERNAL_ID_MAX] or None
    return replace(
        image,
        content_type=state.content_type[:255],
        metadata=_bounded(dict(state.metadata)),
        external_id=external_id,
    )


def _bounded(metadata: dict[str, str]) -> dict[str, str]:
    """Metadata up to S3's limit; an object store that allows more must not break the catalog."""
    size = 0
    kept = {}
    for name in sorted(metadata):
        size += len(name.encode()) + len(metadata[name].encode())
        if size > METADATA_MAX_BYTES:
            break
        kept[name] = metadata[name]
    return kept


def _changed(image: ImageRecord, now: datetime, ports: Ports) -> ImageRecord:
    """The image with a higher version, to be published."""
    return replace(image, version=next_version(image, now), updated_at=now, publish_due=ports.first_resend(now))


async def _announce(hint: ObjectHint, change: Change, ports: Ports) -> None:
    """The fast path; whatever is lost from here on, the sweep finds the marks that were committed."""
    messages = [
        OutgoingMessage(
            ports.topics.contents,
            encode_key(content_id),
            ContentChanged(bucket=content_id.bucket, sha256=content_id.sha256, event_time=hint.event_time).encode(),
        )
        for content_id in change.dirty
    ]
    await ports.outbox.send(messages)
    await ports.reached(Step.CONTENT_SENT)
    if change.publish:
        await publish_images([hint.ref.image_id], ports)
