"""Looking at one object: first as it comes, then again while its row is locked.

A look never fails because of its object: one that can't be read is a look too, with the reason, and with the state that
a listing tells. Only outages of the bucket or the server are raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from imaging.digest import Digest, Digester
from schemas import lifecycle, tracing
from schemas.errors import TIMEOUT, ObjectStoreOutage, ObjectTooLarge, ObjectUnreadable
from schemas.messages import ObjectHint
from schemas.records import ContentId, ImageRecord, ObjectRef, ObjectState, Reason
from stores.objects.ports import ObjectReader
from streams.common import metrics
from streams.common.checkpoints import Step
from streams.common.concurrency import side_by_side
from streams.common.ports import LOCKED_AT_ONCE, Checkpoint
from streams.common.scope import check_bucket, listed, scoped

log = structlog.get_logger(__name__)

EMPTY = Reason("empty")
TOO_LARGE = Reason(ObjectTooLarge.reason)

type Images = Mapping[str, ImageRecord]
"""Locked rows by image id."""


@dataclass(frozen=True, slots=True)
class LookPorts:
    """What a look touches before the row is locked."""

    objects: ObjectReader
    reached: Checkpoint
    max_bytes: int
    """Larger objects are rejected."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at an object: its state, and the digest of its bytes unless it is gone or rejected.

    Of one that can't be read, the state is found out while its row is locked.
    """

    hint: ObjectHint
    state: ObjectState | None
    digest: Digest | None = None
    reason: Reason | None = None
    seen_under_lock: bool = False
    was_read: bool = False
    """Whether the digest is that of bytes which were read, and not the one that the row had."""

    @property
    def ref(self) -> ObjectRef:
        """The object."""
        return self.hint.ref

    @property
    def image_id(self) -> str:
        """The id of the row that stands for it."""
        return self.hint.ref.image_id

    @property
    def is_unreadable(self) -> bool:
        """Whether the object could not be read."""
        return lifecycle.is_unreadable(self.reason)

    @property
    def content_id(self) -> ContentId | None:
        """The content that the object holds."""
        return ContentId(self.ref.bucket, self.digest.sha256) if self.digest else None


# Before its row is locked.


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


async def look_at(hint: ObjectHint, known: ImageRecord | None, ports: LookPorts) -> Look | None:
    """Look at one object, also if it can't be read; None if it changed meanwhile. Raises Outage, also BucketOutage."""
    try:
        with tracing.within(hint.trace):
            return await scoped(hint.ref, lambda: observe(hint, known, ports), ports.objects)
    except ObjectUnreadable as error:
        log.warning("object_unreadable", bucket=hint.ref.bucket, key=hint.ref.key, code=error.code, error=str(error))
        return Look(hint, None, reason=Reason(lifecycle.UNREADABLE, error.code))


async def observe(hint: ObjectHint, known: ImageRecord | None, ports: LookPorts) -> Look | None:
    """Look at one object, and read it unless its state alone tells all there is to know.

    None if it changed while it was looked at. Where its row can't be up to date, or may have a wrong digest, it is read
    at once: the headers of that answer tell what a HEAD would. That it is gone is taken from the announcement: what
    counts is the HEAD that follows while its row is locked.
    """
    if hint.removed and known is not None:
        return Look(hint, None)
    if hint.reread or known is None or not known.exists or hint.etag not in (None, known.etag):
        return await _read(hint, ports)
    seen = await ports.objects.head(hint.ref)
    await ports.reached(Step.OBJECT_SEEN)
    if seen is None:
        return Look(hint, None)
    if (reason := object_rejection(seen, ports.max_bytes)) is not None:
        return Look(hint, seen, reason=reason)
    if (digest := _known_digest(known, seen)) is not None:
        return Look(hint, seen, digest)
    return await _read(hint, ports)


async def _read(hint: ObjectHint, ports: LookPorts) -> Look | None:
    digester = Digester()
    try:
        with metrics.stage("download"):
            state = await ports.objects.read(hint.ref, digester.update, max_bytes=ports.max_bytes)
    except ObjectTooLarge:
        state = await ports.objects.head(hint.ref)
        if state is not None and object_rejection(state, ports.max_bytes) is None:
            return None
    await ports.reached(Step.OBJECT_READ)
    if state is None:
        return Look(hint, None)
    if (reason := object_rejection(state, ports.max_bytes)) is not None:
        return Look(hint, state, reason=reason)
    return Look(hint, state, digester.result(), was_read=True)


def object_rejection(state: ObjectState, max_bytes: int) -> Reason | None:
    """Why an object can't be a picture, as far as its size tells."""
    if state.size == 0:
        return EMPTY
    return TOO_LARGE if state.size > max_bytes else None


# While its row is locked.


async def with_listed_states(looks: Sequence[Look], images: Images, objects: ObjectReader) -> Sequence[Look]:
    """The looks, those at unreadable objects with the state that a listing tells now that the row is locked."""
    unreadable = [look for look in looks if look.is_unreadable]
    listings = await side_by_side((_as_listed(look, images, objects) for look in unreadable), limit=LOCKED_AT_ONCE)
    seen = {look.ref: look for look in listings}
    return [seen.get(look.ref, look) for look in looks]


async def _as_listed(look: Look, images: Images, objects: ObjectReader) -> Look:
    """Where the locked row is about the very state that is listed, the bytes are known and need not be read."""
    state = await listed(look.ref, objects)
    return replace(
        look,
        state=state,
        digest=_known_digest(images.get(look.image_id), state),
        reason=look.reason if state else None,
        seen_under_lock=True,
    )


def _known_digest(image: ImageRecord | None, state: ObjectState | None) -> Digest | None:
    """The digest of the object in this state, as far as the row tells; the MD5 is not needed again."""
    if image is None or image.sha256 is None or state is None or image.fingerprint != state.fingerprint:
        return None
    return Digest(sha256=image.sha256, md5="", size=state.size)


async def still_as_seen(looks: Sequence[Look], images: Images, objects: ObjectReader) -> Sequence[Look]:
    """Those whose object is still what was seen, now that its row is locked: a later change brings a later hint.

    One whose HEAD fails isn't, but for one that gets no answer in time: to look again would take as long again.
    """

    async def seen_again(look: Look) -> Look | None:
        if look.seen_under_lock:
            return look
        try:
            return look if await objects.head(look.ref) == look.state else None
        except ObjectStoreOutage as error:
            await check_bucket(look.ref.bucket, objects)
            if error.code != TIMEOUT:
                return None
            return await _as_listed(replace(look, reason=Reason(lifecycle.UNREADABLE, TIMEOUT)), images, objects)

    seen = await side_by_side(map(seen_again, looks), limit=LOCKED_AT_ONCE)
    return [look for look in seen if look is not None]
