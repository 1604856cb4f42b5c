"""Make the catalog agree with objects: the ingest side's handler, for a whole batch of hints.

An event is a hint to look. An object's present state is read, and written down by whoever has seen it *while holding
the image's row*: so the last writer of a row is right, whatever the order of the events::

    hints ─► known? ─► observe ∥ ─► lock images ─► HEAD again ∥ ─► lock contents ─► transitions ─► save ─► announce

``ingest.look`` observes, before the rows are locked and then. What moved meanwhile falls out of its batch and is
looked at again, ``ROUNDS`` times at most. An object that can't be read is recorded with the reason, as a listing shows
it, and tried again on the sweep's schedule. Hints about a bucket that is gone or denied are acknowledged, and leave a
comparison of the bucket on the to-do list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import batched

from imaging.digest import Digest
from schemas import lifecycle
from schemas.errors import BucketOutage
from schemas.messages import ObjectHint
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ObjectRef, Reason
from schemas.topics import Topics
from stores.broker.ports import Outbox
from stores.catalog.ports import Catalog, CatalogTransaction
from streams.common import metrics
from streams.common.checkpoints import Step
from streams.common.concurrency import side_by_side
from streams.common.hints import content_hint
from streams.common.ports import LOCKED_AT_ONCE, Checkpoint, Clock, NewId, RetryWait
from streams.ingest.look import (
    Images,
    Look,
    LookPorts,
    doubted,
    look_at,
    looked_at_already,
    still_as_seen,
    with_listed_states,
)
from streams.publish import PublishPorts, publish_images
from streams.repair.comparison_requests import request_comparison

CHANGES_TOO_FAST = Reason(lifecycle.UNREADABLE, "ChangesTooFast")
CONCURRENCY = 8
ROUNDS = 8
"""Looks at an object that is never the same twice, before it counts as one that can't be read."""

type Contents = Mapping[ContentId, ContentRecord]


class ObjectOutcome(StrEnum):
    """What a look at an object led to."""

    UNCHANGED = "unchanged"
    ABSENT = "absent"
    STORED = "stored"
    REJECTED = "rejected"
    REMOVED = "removed"
    BUCKET_AWAY = "bucket_away"


@dataclass(frozen=True, slots=True)
class ObjectPorts:
    """What the ingest side touches."""

    catalog: Catalog
    looking: LookPorts
    publishing: PublishPorts
    outbox: Outbox
    topics: Topics
    clock: Clock
    reached: Checkpoint
    vector_id: NewId
    wait: timedelta
    """After so long the sweep takes up what no message has finished."""
    retry_wait: RetryWait


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one transaction has written."""

    outcomes: Mapping[ObjectRef, ObjectOutcome]
    settled: Sequence[str]
    """Images of which the last word is said already."""
    dirty: Mapping[ContentId, ObjectHint]
    """Contents to look at, with the hint that led here."""


async def converge_objects(
    hints: Iterable[ObjectHint], ports: ObjectPorts, *, concurrency: int = CONCURRENCY
) -> dict[ObjectRef, ObjectOutcome]:
    """Look at objects, ``concurrency`` at a time, and make the catalog agree; what became of each.

    There may be several hints about one object: it is looked at once, unless all of them were looked at already. Safe
    to call any number of times, by several workers at once. Raises Outage (call again) and nothing else on purpose.
    """
    outcomes: dict[ObjectRef, ObjectOutcome] = {}
    by_object: dict[ObjectRef, list[ObjectHint]] = {}
    for hint in hints:
        by_object.setdefault(hint.ref, []).append(hint)
    rounds = 0
    while waiting := {ref: about for ref, about in by_object.items() if ref not in outcomes}:
        rounds += 1
        try:
            outcomes |= await _round(rounds, waiting, ports, concurrency=concurrency)
        except BucketOutage as away:
            await request_comparison("bucket", ports.catalog, ports.clock, bucket=away.bucket)
            outcomes |= {ref: ObjectOutcome.BUCKET_AWAY for ref in waiting if ref.bucket == away.bucket}
    return outcomes


async def _round(
    number: int, by_object: Mapping[ObjectRef, Sequence[ObjectHint]], ports: ObjectPorts, *, concurrency: int
) -> dict[ObjectRef, ObjectOutcome]:
    """Look at each object once; what moved meanwhile has no outcome, unless the rounds are used up."""
    known = await ports.catalog.images(list(by_object))
    outcomes = {
        ref: ObjectOutcome.UNCHANGED
        for ref, hints in by_object.items()
        if ref in known and all(looked_at_already(hint, known[ref]) for hint in hints)
    }
    hints = [
        about[-1]._replace(reread=any(hint.reread for hint in about))
        for ref, about in by_object.items()
        if ref not in outcomes
    ]
    if number > 1:
        hints = [doubted(hint) for hint in hints]
    if number > ROUNDS:
        looks = [Look(hint, None, reason=CHANGES_TOO_FAST) for hint in hints]
    else:
        looking = (look_at(hint, known.get(hint.ref), ports.looking) for hint in hints)
        looks = [look for look in await side_by_side(looking, limit=concurrency) if look is not None]
    for part in batched(sorted(looks, key=lambda look: look.image_id), LOCKED_AT_ONCE):
        recorded = await record_looks(part, known, ports)
        await announce(recorded, ports)
        outcomes |= recorded.outcomes
    return outcomes


async def give_up_on_object(hint: ObjectHint, error: Exception, ports: ObjectPorts) -> None:
    """Record an object as rejected because handling it failed for a reason that is a bug. Raises what it meets."""
    state = await ports.looking.objects.head(hint.ref)
    reason = Reason(lifecycle.GAVE_UP, f"{type(error).__name__}: {error}") if state else None
    await announce(await record_looks([Look(hint, state, reason=reason)], {}, ports), ports)


# How a look is recorded.


async def record_looks(looks: Sequence[Look], known: Mapping[ObjectRef, ImageRecord], ports: ObjectPorts) -> Recorded:
    """Write down those looks that still hold while the images' rows are locked, in one transaction."""
    with metrics.stage("sql"):
        async with ports.catalog.transaction() as tx:
            images = await lock_looked_at(tx, looks, known, ports.clock)
            await ports.reached(Step.IMAGE_LOCKED)
            looks = await with_listed_states(looks, images, ports.looking.objects)
            outcomes = {look.ref: ObjectOutcome.UNCHANGED for look in looks if _agrees(images.get(look.image_id), look)}
            moved = [
                look
                for look in looks
                if look.ref not in outcomes and look.image_id in images and _is_founded(look, images[look.image_id])
            ]
            changed = await still_as_seen(moved, images, ports.looking.objects)
            images = {**images, **await _returned(tx, changed, images, ports.clock)}
            # Read after the wait for the locks, so that versions rise in the order of the locks.
            now = ports.clock.now()
            contents = await lock_concerned(tx, changed, images, now, ports.vector_id)
            await ports.reached(Step.CONTENT_LOCKED)
            moved_contents = _move_references(changed, images, contents, now, ports)
            saved = _recorded_images(changed, images, now, ports)
            await tx.save_images(saved.values())
            # After the images: the number of a content's objects is written along.
            await tx.save_contents(moved_contents.values())
            unused = [row.id for row in images.values() if lifecycle.is_placeholder(row) and row.id not in saved]
            await tx.delete_images(unused)
    outcomes |= {look.ref: _outcome(look, images[look.image_id]) for look in changed}
    for look in changed:
        if look.reason is not None and look.digest is None:
            metrics.REJECTIONS.labels(look.reason.slug).inc()
    await ports.reached(Step.OBJECT_COMMITTED)
    present = [saved.get(look.image_id, images[look.image_id]) for look in changed]
    settled = [row.id for row in present if _is_settled(row, {**contents, **moved_contents})]
    causes = {
        content_id: look.hint
        for look in reversed(changed)
        for content_id in (look.content_id, images[look.image_id].content_id)
        if content_id is not None
    }
    return Recorded(outcomes, settled, {content_id: causes[content_id] for content_id in moved_contents})


async def lock_looked_at(
    tx: CatalogTransaction, looks: Sequence[Look], known: Mapping[ObjectRef, ImageRecord], clock: Clock
) -> Images:
    """The images' rows, locked; with neither object nor row there may be somebody about to commit the first one."""
    now = clock.now()
    placeholders = [lifecycle.new_image(look.ref, now) for look in looks if look.ref not in known]
    return await tx.lock_images([look.image_id for look in looks], create=placeholders)


async def _returned(
    tx: CatalogTransaction, looks: Sequence[Look], images: Images, clock: Clock
) -> Mapping[str, ImageRecord]:
    """New rows for removed images whose object is there again, so that they come last where images are in order."""
    removed = [images[look.image_id] for look in looks if look.state is not None and not images[look.image_id].exists]
    removed = [image for image in removed if not lifecycle.is_placeholder(image)]
    if not removed:
        return {}
    await tx.delete_images([image.id for image in removed])
    now = clock.now()
    return await tx.lock_images((), create=[lifecycle.return_image(image, now) for image in removed])


def _agrees(image: ImageRecord | None, look: Look) -> bool:
    """Whether the locked row says what was seen.

    Only while it is locked does that mean something: Last-Modified counts whole seconds, so A looks the same before and
    after a B that was put within the same second, and another worker may have been about to commit that B.
    """
    if image is None or look.state is None or image.fingerprint != look.state.fingerprint:
        return False
    if look.is_unreadable:
        # Also one whose bytes are known is looked at again, since a listing does not tell how it is described.
        return image.retry_due is not None and image.reason in (None, look.reason)
    if look.was_read and look.content_id != image.content_id:
        return False
    return image.retry_due is None and image.reason == look.reason and lifecycle.describe(image, look.state) == image


def _is_founded(look: Look, image: ImageRecord) -> bool:
    """Whether the locked row still has the digest that the look took from it: a wrong one may have been corrected."""
    return look.was_read or look.digest is None or look.content_id == image.content_id


async def lock_concerned(
    tx: CatalogTransaction, looks: Sequence[Look], images: Images, now: datetime, vector_id: NewId
) -> dict[ContentId, ContentRecord]:
    """The contents that images leave and come to, locked: those that the bucket did not have are made."""
    gained, lost = concerned(looks, images)
    create = [
        lifecycle.new_content(content_id, digest.md5 or None, vector_id(), now) for content_id, digest in gained.items()
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
    looks: Sequence[Look], images: Images, contents: Contents, now: datetime, ports: ObjectPorts
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


def _recorded_images(
    looks: Sequence[Look], images: Images, now: datetime, ports: ObjectPorts
) -> dict[str, ImageRecord]:
    """The images' rows as they are to be saved; none for an object that was known to be absent."""
    saved = {}
    for look in looks:
        image, sequencer = images[look.image_id], look.hint.sequencer
        if look.is_unreadable and look.digest is not None:
            saved[image.id] = lifecycle.look_again(image, now, ports.retry_wait(look.reason))
        elif look.is_unreadable and look.state is not None and look.reason is not None:
            saved[image.id] = lifecycle.record_unreadable(
                image, look.state, look.reason, sequencer, now, ports.wait, ports.retry_wait(look.reason)
            )
        elif look.state is not None:
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
    if look.reason is None:
        return ObjectOutcome.STORED
    return ObjectOutcome.REJECTED if look.digest is None else ObjectOutcome.UNCHANGED


def _is_settled(image: ImageRecord, contents: Contents) -> bool:
    """Whether nothing is left to find out about the image, so that it is published once and at once."""
    if lifecycle.is_placeholder(image):
        return False
    content = contents.get(image.content_id) if image.content_id else None
    if content is None:
        return image.content_id is None
    # Whether a rejected one is still refused, the index finds out; it publishes what is another state than before.
    published = lifecycle.published_as(lifecycle.published_state(image, content))
    refused_before = content.state is ContentState.REJECTED and image.published_state in published
    return content.state is ContentState.INDEXED or refused_before


async def announce(recorded: Recorded, ports: ObjectPorts) -> None:
    """The fast path; whatever is lost from here on, the sweep finds the marks that were committed."""
    await ports.outbox.send(
        [
            content_hint(content_id, ports.topics, event_time=hint.event_time, trace=hint.trace)
            for content_id, hint in recorded.dirty.items()
        ]
    )
    await ports.reached(Step.CONTENT_SENT)
    await publish_images(recorded.settled, ports.publishing)
