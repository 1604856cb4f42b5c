"""Make the catalog agree with objects: the ingest side's handler, for a whole batch of hints.

An event is a hint to look. An object's present state is read, and written down by whoever has seen it *while holding
the image's row*: so the last writer of a row is right, whatever the order of the events::

    hints ─► known? ─► observe ∥ ─► lock images ─► HEAD again ∥ ─► lock contents ─► transitions ─► save ─► announce

What moved meanwhile falls out of its batch and is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import batched

from imaging.digest import Digest, Digester
from schemas import lifecycle
from schemas.errors import ObjectTooLarge
from schemas.messages import ObjectHint
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ObjectRef, ObjectState, Reason
from stores.catalog.ports import CatalogTransaction
from streams import metrics
from streams.concurrency import side_by_side
from streams.hints import content_hint
from streams.ports import LOCKED_AT_ONCE, Ports
from streams.publish import publish_images
from streams.steps import Step

EMPTY = Reason("empty")
TOO_LARGE = Reason(ObjectTooLarge.reason)
CONCURRENCY = 8

type Images = Mapping[str, ImageRecord]
"""Locked rows by image id."""
type Contents = Mapping[ContentId, ContentRecord]


class ObjectOutcome(StrEnum):
    """What a look at an object led to."""

    UNCHANGED = "unchanged"
    ABSENT = "absent"
    STORED = "stored"
    REJECTED = "rejected"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Look:
    """One look at an object: its state, and the digest of its bytes unless it is gone or rejected."""

    hint: ObjectHint
    state: ObjectState | None
    digest: Digest | None = None
    reason: Reason | None = None

    @property
    def ref(self) -> ObjectRef:
        """The object."""
        return self.hint.ref

    @property
    def image_id(self) -> str:
        """The id of the row that stands for it."""
        return self.hint.ref.image_id

    @property
    def content_id(self) -> ContentId | None:
        """The content that the object holds."""
        return ContentId(self.ref.bucket, self.digest.sha256) if self.digest else None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one transaction has written."""

    outcomes: Mapping[ObjectRef, ObjectOutcome]
    settled: Sequence[str]
    """Images of which the last word is said already."""
    dirty: Mapping[ContentId, datetime | None]
    """Contents to look at, with the time of the announcement that led here."""


async def converge_objects(
    hints: Iterable[ObjectHint], ports: Ports, *, concurrency: int = CONCURRENCY
) -> dict[ObjectRef, ObjectOutcome]:
    """Look at objects, ``concurrency`` at a time, and make the catalog agree; what became of each.

    There may be several hints about one object: it is looked at once, unless all of them were looked at already. Safe
    to call any number of times, by several workers at once. Raises Outage (call again) and nothing else on purpose.
    """
    outcomes: dict[ObjectRef, ObjectOutcome] = {}
    told: dict[ObjectRef, list[ObjectHint]] = {}
    for hint in hints:
        told.setdefault(hint.ref, []).append(hint)
    waiting = {ref: about[-1] for ref, about in told.items()}
    while waiting:
        known = await ports.catalog.images(list(waiting))
        looked = [
            ref for ref in waiting if ref in known and all(looked_at_already(hint, known[ref]) for hint in told[ref])
        ]
        outcomes |= dict.fromkeys(looked, ObjectOutcome.UNCHANGED)
        looking = [observe(hint, known.get(ref), ports) for ref, hint in waiting.items() if ref not in outcomes]
        looks = [look for look in await side_by_side(looking, limit=concurrency) if look is not None]
        for part in batched(sorted(looks, key=lambda look: look.image_id), LOCKED_AT_ONCE):
            recorded = await record(part, known, ports)
            await announce(recorded, ports)
            outcomes |= recorded.outcomes
        waiting = {ref: doubted(hint) for ref, hint in waiting.items() if ref not in outcomes}
    return outcomes


async def give_up_on_object(hint: ObjectHint, error: Exception, ports: Ports) -> None:
    """Record an object as rejected because handling it failed for a reason that is a bug. Raises what it meets."""
    state = await ports.objects.head(hint.ref)
    reason = Reason(lifecycle.GAVE_UP, f"{type(error).__name__}: {error}") if state else None
    await announce(await record([Look(hint, state, reason=reason)], {}, ports), ports)


# How an object is looked at.


def looked_at_already(hint: ObjectHint, image: ImageRecord) -> bool:
    """Whether this very announcement has led to the look that the row records, so that it says nothing new.

    Whoever recorded its sequencer had received the announcement before they looked. ETag and size are compared too,
    for servers whose sequencers are not what S3 promises.
    """
    if hint.sequencer is None or hint.sequencer != image.sequencer:
        return False
    if hint.removed:
        return not image.exists
    return image.exists and hint.etag == image.etag and hint.size in (None, image.size)


def doubted(hint: ObjectHint) -> ObjectHint:
    """The hint without what it tells of the object: that is not what was found while the row was locked."""
    return hint._replace(removed=False, etag=None, size=None)


async def observe(hint: ObjectHint, known: ImageRecord | None, ports: Ports) -> Look | None:
    """Look at one object, and read it unless its state alone tells all there is to know.

    None if it changed while it was looked at. Where its row can't be up to date it is read at once: the headers of
    that answer tell what a HEAD would. That it is gone is taken from the announcement: what counts is the HEAD that
    follows while its row is locked.
    """
    if hint.removed and known is not None:
        return Look(hint, None)
    if known is None or not known.exists or hint.etag not in (None, known.etag):
        return await _read(hint, ports)
    seen = await ports.objects.head(hint.ref)
    await ports.reached(Step.OBJECT_SEEN)
    if seen is None:
        return Look(hint, None)
    if (reason := object_rejection(seen, ports)) is not None:
        return Look(hint, seen, reason=reason)
    if known.sha256 is not None and known.fingerprint == seen.fingerprint:
        return Look(hint, seen, Digest(sha256=known.sha256, md5="", size=seen.size))
    return await _read(hint, ports)


async def _read(hint: ObjectHint, ports: Ports) -> Look | None:
    digester = Digester()
    try:
        with metrics.stage("download"):
            state = await ports.objects.read(hint.ref, digester.update, max_bytes=ports.limits.max_object_bytes)
    except ObjectTooLarge:
        state = await ports.objects.head(hint.ref)
        if state is not None and object_rejection(state, ports) is None:
            return None
    await ports.reached(Step.OBJECT_READ)
    if state is None:
        return Look(hint, None)
    if (reason := object_rejection(state, ports)) is not None:
        return Look(hint, state, reason=reason)
    return Look(hint, state, digester.result())


def object_rejection(state: ObjectState, ports: Ports) -> Reason | None:
    """Why an object can't be a picture, as far as its size tells."""
    if state.size == 0:
        return EMPTY
    return TOO_LARGE if state.size > ports.limits.max_object_bytes else None


# How a look is recorded.


async def record(looks: Sequence[Look], known: Mapping[ObjectRef, ImageRecord], ports: Ports) -> Recorded:
    """Write down those looks that still hold while the images' rows are locked, in one transaction."""
    with metrics.stage("sql"):
        async with ports.catalog.transaction() as tx:
            images = await lock_images(tx, looks, known, ports)
            await ports.reached(Step.IMAGE_LOCKED)
            outcomes = {look.ref: ObjectOutcome.UNCHANGED for look in looks if _agrees(images.get(look.image_id), look)}
            moved = [look for look in looks if look.ref not in outcomes and look.image_id in images]
            changed = await still_as_seen(moved, ports)
            # Read after the wait for the locks, so that versions rise in the order of the locks.
            now = ports.clock.now()
            contents = await lock_contents(tx, changed, images, now, ports)
            await ports.reached(Step.CONTENT_LOCKED)
            moved_contents = _move_references(changed, images, contents, now, ports)
            await tx.save_contents(moved_contents.values())
            saved = _recorded_images(changed, images, now, ports)
            await tx.save_images(saved.values())
            unused = [row.id for row in images.values() if lifecycle.is_placeholder(row) and row.id not in saved]
            await tx.delete_images(unused)
    outcomes |= {look.ref: _outcome(look, images[look.image_id]) for look in changed}
    for look in changed:
        if look.reason is not None:
            metrics.REJECTIONS.labels(look.reason.slug).inc()
    await ports.reached(Step.OBJECT_COMMITTED)
    present = [saved.get(look.image_id, images[look.image_id]) for look in changed]
    settled = [row.id for row in present if _is_settled(row, {**contents, **moved_contents})]
    moments = {
        content_id: look.hint.event_time
        for look in reversed(changed)
        for content_id in (look.content_id, images[look.image_id].content_id)
        if content_id is not None
    }
    return Recorded(outcomes, settled, {content_id: moments[content_id] for content_id in moved_contents})


async def lock_images(
    tx: CatalogTransaction, looks: Sequence[Look], known: Mapping[ObjectRef, ImageRecord], ports: Ports
) -> Images:
    """The images' rows, locked; with neither object nor row there may be somebody about to commit the first one."""
    now = ports.clock.now()
    placeholders = [lifecycle.new_image(look.ref, now) for look in looks if look.ref not in known]
    return await tx.lock_images([look.image_id for look in looks], create=placeholders)


def _agrees(image: ImageRecord | None, look: Look) -> bool:
    """Whether the locked row says what was seen.

    Only while it is locked does that mean something: Last-Modified counts whole seconds, so A looks the same before and
    after a B that was put within the same second, and another worker may have been about to commit that B.
    """
    return (
        image is not None
        and look.state is not None
        and image.fingerprint == look.state.fingerprint
        and image.reason == look.reason
        and lifecycle.describe(image, look.state) == image
    )


async def still_as_seen(looks: Sequence[Look], ports: Ports) -> Sequence[Look]:
    """Those whose object is still what was seen, now that its row is locked: a later change brings a later hint."""
    states = await side_by_side((ports.objects.head(look.ref) for look in looks), limit=LOCKED_AT_ONCE)
    return [look for look, state in zip(looks, states, strict=True) if state == look.state]


async def lock_contents(
    tx: CatalogTransaction, looks: Sequence[Look], images: Images, now: datetime, ports: Ports
) -> dict[ContentId, ContentRecord]:
    """The contents that images leave and come to, locked: those that the bucket did not have are made."""
    gained, lost = concerned(looks, images)
    create = [
        lifecycle.new_content(content_id, digest.md5 or None, ports.vector_id(), now)
        for content_id, digest in gained.items()
    ]
    return await tx.lock_contents({*gained, *lost}, create=create)


def concerned(looks: Sequence[Look], images: Images) -> tuple[dict[ContentId, Digest], set[ContentId]]:
    """The contents that images come to refer to, and those that images leave."""
    gained: dict[ContentId, Digest] = {}
    lost: set[ContentId] = set()
    for look in looks:
        old, new = images[look.image_id].content_id, look.content_id
        if new is not None and look.digest is not None and not _is_same_object(images[look.image_id], look):
            gained[new] = look.digest
        if old is not None and old != new:
            lost.add(old)
    return gained, lost


def _is_same_object(image: ImageRecord, look: Look) -> bool:
    """Whether only the object's description changed."""
    same_bytes = look.state is not None and image.fingerprint == look.state.fingerprint
    return same_bytes and image.content_id == look.content_id


def _move_references(
    looks: Sequence[Look], images: Images, contents: Contents, now: datetime, ports: Ports
) -> dict[ContentId, ContentRecord]:
    """The contents that change because images come to them or leave them."""
    gained, lost = concerned(looks, images)
    moved: dict[ContentId, ContentRecord] = {}
    for content_id, content in contents.items():
        if content_id in gained:
            moved[content_id] = lifecycle.gain_reference(content, ports.vector_id(), now, ports.wait)
        elif content_id in lost:
            moved[content_id] = lifecycle.lose_reference(content, now, ports.wait)
    return {content_id: content for content_id, content in moved.items() if content != contents[content_id]}


def _recorded_images(looks: Sequence[Look], images: Images, now: datetime, ports: Ports) -> dict[str, ImageRecord]:
    """The images' rows as they are to be saved; none for an object that was known to be absent."""
    saved = {}
    for look in looks:
        image, sequencer = images[look.image_id], look.hint.sequencer
        if look.state is not None:
            sha256 = look.digest.sha256 if look.digest else None
            saved[image.id] = lifecycle.record_object(
                image, look.state, sha256, look.reason, sequencer, now, ports.wait
            )
        elif image.exists:
            saved[image.id] = lifecycle.record_absence(image, sequencer, now, ports.wait)
    return saved


def _outcome(look: Look, before: ImageRecord) -> ObjectOutcome:
    if look.state is None:
        return ObjectOutcome.REMOVED if before.exists else ObjectOutcome.ABSENT
    return ObjectOutcome.REJECTED if look.reason else ObjectOutcome.STORED


def _is_settled(image: ImageRecord, contents: Contents) -> bool:
    """Whether nothing is left to find out about the image, so that it is published once and at once."""
    if lifecycle.is_placeholder(image):
        return False
    content = contents.get(image.content_id) if image.content_id else None
    return image.content_id is None or (content is not None and content.state is ContentState.INDEXED)


async def announce(recorded: Recorded, ports: Ports) -> None:
    """The fast path; whatever is lost from here on, the sweep finds the marks that were committed."""
    await ports.outbox.send(
        [content_hint(content_id, ports, event_time=moment) for content_id, moment in recorded.dirty.items()]
    )
    await ports.reached(Step.CONTENT_SENT)
    await publish_images(recorded.settled, ports)
