"""The lifecycle of a content and of an image: every state, every transition, and no I/O.

Handlers read: lock these rows, apply one of these functions, save. All of them are pure: a record and what is known
in, a record out.

A **content** is distinct bytes in a bucket. Its state says where it stands on its way into the vector index::

                    ┌──────────── restart (new vector id) ◄───────────┬──────────────┐
                    ▼                                                 │              │
    (no row) ──► PENDING ──── record_indexed ────► INDEXED ───────────┤              │
                  │   │                               │               │              │
                  │   └────────── reject ────────► REJECTED ──────────┘              │
                  │                                   │                              │
                  └──── retire, once nothing refers to it ──► DELETING ──────────────┘
                                                                 └──► (no row), after its vector

| transition | from → to | when |
|---|---|---|
| ``new_content`` | no row → PENDING | an object has bytes that the bucket did not have |
| ``gain_reference`` | DELETING → PENDING, else none | an object has bytes that the bucket has had |
| ``lose_reference`` | none, dirty | an object is gone, or has other bytes now |
| ``begin_attempt`` | PENDING, or INDEXED and to be brought over to another model | an index worker takes it up |
| ``refund_attempt`` | PENDING | the attempt ended for a reason that lay elsewhere |
| ``record_indexed`` | PENDING → INDEXED | its vector is stored |
| ``record_other``, ``forget_other`` | none | its vector is stored for the other model of a switch, or was lost there |
| ``reject`` | PENDING → REJECTED | it is no picture, or all attempts are used up |
| ``reject_unreadable`` | PENDING → REJECTED | none of its objects can be read; it is tried again on a schedule |
| ``restart`` | any → PENDING | its vector was lost, limits or model changed, somebody asked, it came back |
| ``retire`` | any → DELETING | no object refers to it |
| ``mark_dirty``, ``postpone``, ``clear_dirty`` | none | it is put on the to-do list, stays there, is taken off |

A content is *dirty* while the index, or what was published, may not agree with its row: that is the to-do list which
the sweep sends again. Its version rises with each mark, so that a mark is cleared only for what was read.

An **image** is one object of a bucket as the catalog knows it. What a person is told about it follows from its own row
and its content's (``image_state``)::

    PENDING ──► INDEXED | REJECTED ──► PENDING (other bytes, or its content is made anew) ──► … ──► REMOVED ──► (no row)
                                                                                         PENDING (is back) ◄──┘

| transition | when |
|---|---|
| ``new_image`` | a placeholder, to have a row to lock; version 0, never committed |
| ``record_object`` | the object was looked at while the row was locked |
| ``record_unreadable`` | likewise, and only a listing told of it; it is tried again on a schedule |
| ``look_again`` | likewise, and it seems to be what it was: it stays, and is looked at again on that schedule |
| ``return_image`` | the object of a removed image is there again: a row of its own, as for a new one |
| ``record_absence`` | likewise, and it was not there: REMOVED, which is published and kept for a stated time |
| ``begin_erasing`` | that time has passed: a tombstone (a null value) is about to follow |
| ``record_erased`` | the broker has accepted the tombstone; the row goes when none can come late any more |
| ``mark_to_publish`` | something is about to be sent that the row does not announce |
| ``record_published`` | the broker has accepted the snapshot |
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import unquote

from schemas.collection import is_same_model
from schemas.records import (
    EXTERNAL_ID,
    EXTERNAL_ID_MAX,
    METADATA_MAX_BYTES,
    ContentId,
    ContentRecord,
    ContentState,
    ImageRecord,
    ImageState,
    Neighbour,
    ObjectRef,
    ObjectState,
    Reason,
)

GAVE_UP: Final = "gave_up"
"""The slug of the reason when every attempt failed for a reason that is a bug."""
UNREADABLE: Final = "unreadable"
"""The slug of the reason when the object store answers, but not about this object; the detail is its error code."""
ERASING: Final = "erasing"
"""The ``published_state`` of a removed image whose tombstone is about to be sent, or may have been."""
ERASED: Final = "erased"
"""The ``published_state`` of a removed image whose tombstone was accepted; one sent before may still arrive."""
LATE_ARRIVAL: Final = timedelta(seconds=60)
"""A message that its sender has given up on may reach the broker's log so much later."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What was learnt of a picture when it was decoded. Width and height in pixels; ``md5`` of its bytes, in hex;
    ``decoded_share`` of one whose file was cut short.
    """

    width: int
    height: int
    format: str
    md5: str
    decoded_share: float | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What an index worker decides by: limits' fingerprint, models and attempts.

    Contents are marked with ``model_name`` where their vector is in the collection that is searched, and with
    ``other_model`` where it is in that of the other model of a switch, too; None where none is on.
    """

    limits: str
    model_name: str
    max_attempts: int
    other_model: str | None = None


# The to-do list of contents.


def mark_dirty(content: ContentRecord, now: datetime, wait: timedelta) -> ContentRecord:
    """On the to-do list under a version of its own; the sweep takes it up after ``wait``."""
    return replace(
        content,
        version=content.version + 1,
        dirty_since=content.dirty_since or now,
        resend_due=now + wait,
    )


def postpone(content: ContentRecord, due: datetime) -> ContentRecord:
    """The sweep has sent it and does so again when it is due; nothing changes for one that is not dirty any more."""
    return content if content.dirty_since is None else replace(content, resend_due=due)


def clear_dirty(content: ContentRecord, read: ContentRecord) -> ContentRecord:
    """Off the to-do list, unless something happened to it since it was ``read``."""
    if (content.version, content.vector_id) != (read.version, read.vector_id):
        return content
    return replace(content, dirty_since=None, resend_due=None)


# How contents gain and lose references.


def new_content(content_id: ContentId, md5: str | None, vector_id: int, now: datetime) -> ContentRecord:
    """A content that the bucket did not have; ``gain_reference`` follows."""
    return ContentRecord(*content_id, vector_id=vector_id, md5=md5, created_at=now)


def gain_reference(content: ContentRecord, vector_id: int, now: datetime, wait: timedelta) -> ContentRecord:
    """An image comes to refer to the locked content.

    An indexed one has nothing left to do. One that is being deleted comes back under ``vector_id``, a new one.
    """
    match content.state:
        case ContentState.INDEXED:
            return content
        case ContentState.DELETING:
            content = restart(content, vector_id)
    return mark_dirty(content, now, wait)


def lose_reference(content: ContentRecord, now: datetime, wait: timedelta) -> ContentRecord:
    """An image leaves the locked content: the index worker has to see whether another one is left."""
    return mark_dirty(content, now, wait)


# What the index worker makes of contents.


def decide(
    content: ContentRecord,
    rules: Rules,
    vector_id: int,
    now: datetime,
    wait: timedelta,
    *,
    referenced: bool,
    retry: bool = False,
) -> ContentRecord:
    """The locked row in the state that it must have now; an attempt has begun if that is PENDING.

    ``retry`` asks to try again even what was rejected under the same limits; ``vector_id`` is a new one, in case it
    is made anew. Raises AssertionError for what can't be: whoever adds a reference leaves DELETING with it.
    """
    decided = content
    if not referenced:
        decided = retire(content)
    elif content.state is ContentState.DELETING:
        raise AssertionError(f"{content.id} is being deleted though an image refers to it")
    elif is_outdated(content, rules) or (content.state is ContentState.REJECTED and retry):
        decided = restart(content, vector_id)
    if lacks_other(decided, rules) and decided.attempts < rules.max_attempts:
        return begin_attempt(decided)
    if decided.state is ContentState.PENDING:
        if decided.attempts >= rules.max_attempts:
            reason = Reason(GAVE_UP, f"{decided.attempts} attempts ended without a result")
            decided = reject(decided, reason, rules.limits, now)
        else:
            decided = begin_attempt(decided)
    if decided.state is not content.state:
        # Also where a message came for a row that was not dirty (a retry, say): now the work is on the to-do list.
        decided = mark_dirty(decided, now, wait)
    return decided


def is_outdated(content: ContentRecord, rules: Rules) -> bool:
    """Whether what is recorded was decided under other limits, or by another model."""
    if content.state is ContentState.REJECTED:
        return content.limits != rules.limits
    return content.state is ContentState.INDEXED and not is_stored_for(content, rules.model_name)


def is_stored_for(content: ContentRecord, mark: str) -> bool:
    """Whether the vector of an indexed content is in the collection of the model with this mark."""
    return is_same_model(content.model, mark) or is_same_model(content.other_model, mark)


def depends_on_models(content: ContentRecord, rules: Rules) -> bool:
    """Whether what is decided about a content would be something else if other models were served."""
    return content.state is ContentState.INDEXED and (is_outdated(content, rules) or lacks_other(content, rules))


def lacks_other(content: ContentRecord, rules: Rules) -> bool:
    """Whether an indexed content is still to be brought over to the collection of the other model of a switch."""
    other = rules.other_model
    return other is not None and content.state is ContentState.INDEXED and not is_stored_for(content, other)


def begin_attempt(content: ContentRecord) -> ContentRecord:
    """Counted before it is made: a picture may take its process down."""
    return replace(content, attempts=content.attempts + 1)


def was_attempted(content: ContentRecord) -> bool:
    """Whether attempts were begun that have not ended: it may have taken its process down, and its batch with it."""
    return content.state is ContentState.PENDING and content.attempts > 0


def was_brought_over(content: ContentRecord, rules: Rules) -> bool:
    """Likewise for one that was to be brought over to the other model of a switch."""
    return lacks_other(content, rules) and content.attempts > 0


def refund_attempt(content: ContentRecord, read: ContentRecord) -> ContentRecord:
    """The attempt at what was ``read`` ended for a reason that lay elsewhere, such as an outage."""
    if content.vector_id != read.vector_id or content.attempts == 0:
        return content
    return replace(content, attempts=content.attempts - 1)


def restart(content: ContentRecord, vector_id: int) -> ContentRecord:
    """Pending again, under a vector id of its own; the vector under the old one is to be deleted."""
    return replace(
        content,
        state=ContentState.PENDING,
        vector_id=vector_id,
        retired=(*content.retired, content.vector_id),
        attempts=0,
        reason=None,
        limits=None,
        nearest=(),
    )


def retire(content: ContentRecord) -> ContentRecord:
    """To be deleted: its vector first, then its row."""
    return replace(content, state=ContentState.DELETING)


def awaits(content: ContentRecord | None, read: ContentRecord) -> bool:
    """Whether the locked row still waits for the result of the attempt that began with ``read``."""
    return content is not None and content.state is ContentState.PENDING and content.vector_id == read.vector_id


def is_deletable(content: ContentRecord, read: ContentRecord) -> bool:
    """Whether the locked row may go, now that the vector of ``read`` is deleted: it may have come back since."""
    return content.state is ContentState.DELETING and content.vector_id == read.vector_id


def has_lost(content: ContentRecord, read: ContentRecord) -> bool:
    """Whether the locked row still stands for the vector of ``read``, which was found missing."""
    return content.state is ContentState.INDEXED and content.vector_id == read.vector_id


def awaits_other(content: ContentRecord | None, read: ContentRecord) -> bool:
    """Whether the locked row still stands for the vector of ``read``, which was stored for the other model, too."""
    return content is not None and has_lost(content, read)


def record_other(content: ContentRecord, rules: Rules) -> ContentRecord:
    """The vector is stored in the collection of the other model, too; the mark of a former one makes room."""
    serves = is_same_model(content.model, rules.model_name)
    return replace(
        content,
        model=content.model if serves else content.other_model,
        other_model=rules.other_model,
        attempts=0,
    )


def forget_other(content: ContentRecord, rules: Rules) -> ContentRecord:
    """The vector was found missing in the collection of the other model: it is to be brought over again."""
    serves = is_same_model(content.model, rules.model_name)
    return replace(content, model=content.model if serves else content.other_model, other_model=None)


def record_indexed(
    content: ContentRecord,
    picture: Picture,
    model_name: str,
    nearest: tuple[Neighbour, ...],
    now: datetime,
    *,
    other_model: str | None = None,
) -> ContentRecord:
    """The vector is stored; ``nearest`` are the contents that were near it at that moment."""
    return replace(
        content,
        state=ContentState.INDEXED,
        model=model_name,
        other_model=other_model,
        attempts=0,
        md5=picture.md5,
        width=picture.width,
        height=picture.height,
        format=picture.format,
        decoded_share=picture.decoded_share,
        nearest=nearest,
        indexed_at=now,
        retry_due=None,
    )


def reject(content: ContentRecord, reason: Reason, limits: str, now: datetime) -> ContentRecord:
    """It can't be indexed under these limits."""
    return replace(
        content,
        state=ContentState.REJECTED,
        reason=reason,
        limits=limits,
        model=None,
        other_model=None,
        nearest=(),
        indexed_at=now,
        retry_due=None,
    )


def reject_unreadable(
    content: ContentRecord, reason: Reason, limits: str, now: datetime, wait: timedelta
) -> ContentRecord:
    """None of its objects can be read just now: it is tried again after ``wait``.

    Where that was so before, time and schedule stay as they were: they tell how long it has lasted.
    """
    lasting = content.retry_due is not None
    rejected = reject(content, reason, limits, (content.indexed_at or now) if lasting else now)
    return replace(rejected, retry_due=content.retry_due if lasting else now + wait)


def forget_retired(content: ContentRecord, deleted: Collection[int]) -> ContentRecord:
    """The vectors under these ids of former lives are deleted."""
    return replace(content, retired=tuple(vector_id for vector_id in content.retired if vector_id not in deleted))


# What can't be read, and is tried again.


def is_unreadable(reason: Reason | None) -> bool:
    """Whether that is why something was rejected."""
    return reason is not None and reason.slug == UNREADABLE


def postpone_retry[R: (ImageRecord, ContentRecord)](row: R, due: datetime) -> R:
    """The sweep has it tried again now, and does so again when it is due, unless it could be read meanwhile."""
    return row if row.retry_due is None else replace(row, retry_due=due)


# What is known of images.


def new_image(ref: ObjectRef, now: datetime) -> ImageRecord:
    """A placeholder of version 0: it is recorded or deleted in the transaction that inserts it."""
    return ImageRecord(ref.image_id, ref.bucket, ref.key, created_at=now, updated_at=now)


def is_placeholder(image: ImageRecord) -> bool:
    """Whether nothing was ever recorded of it."""
    return image.version == 0


def record_object(
    image: ImageRecord,
    state: ObjectState,
    sha256: str | None,
    reason: Reason | None,
    sequencer: str | None,
    now: datetime,
    wait: timedelta,
) -> ImageRecord:
    """The object as it was seen while the row was locked: its bytes' digest, or why it can't be a picture."""
    recorded = replace(
        describe(image, state),
        sha256=sha256,
        reason=reason,
        etag=state.etag,
        size=state.size,
        last_modified=state.last_modified,
        sequencer=sequencer,
        created_at=image.created_at if image.exists else now,
        retry_due=None,
    )
    return _changed(recorded, now, wait)


def record_unreadable(
    image: ImageRecord,
    state: ObjectState,
    reason: Reason,
    sequencer: str | None,
    now: datetime,
    wait: timedelta,
    retry_wait: timedelta,
) -> ImageRecord:
    """A listing told of the object while the row was locked, and the object can't be read: tried again later."""
    return replace(record_object(image, state, None, reason, sequencer, now, wait), retry_due=now + retry_wait)


def look_again(image: ImageRecord, now: datetime, retry_wait: timedelta) -> ImageRecord:
    """The object can't be read, and seems to be the one that the row is about: nothing changes until it can be."""
    return replace(image, retry_due=image.retry_due or now + retry_wait)


def record_absence(image: ImageRecord, sequencer: str | None, now: datetime, wait: timedelta) -> ImageRecord:
    """The object was not there while the row was locked: a removed image, which stays until its key is erased."""
    removed = replace(
        image,
        sha256=None,
        etag=None,
        size=0,
        last_modified=None,
        reason=None,
        sequencer=sequencer,
        retry_due=None,
    )
    return _changed(removed, now, wait)


def return_image(image: ImageRecord, now: datetime) -> ImageRecord:
    """What remains of a removed image whose object is there again: what the change stream was told of it."""
    return replace(
        new_image(image.ref, now),
        version=image.version,
        published_version=image.published_version,
        published_state=image.published_state,
    )


def describe(image: ImageRecord, state: ObjectState) -> ImageRecord:
    """The image with what the object's headers say of it."""
    return replace(
        image,
        content_type=state.content_type[:255],
        metadata=_bounded(state.metadata),
        external_id=unquote(state.metadata.get(EXTERNAL_ID, ""))[:EXTERNAL_ID_MAX] or None,
    )


def _bounded(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata up to S3's limit; an object store that allows more must not break the catalog."""
    size = 0
    kept = {}
    for name in sorted(metadata):
        size += len(name.encode()) + len(metadata[name].encode())
        if size > METADATA_MAX_BYTES:
            break
        kept[name] = metadata[name]
    return kept


def _changed(image: ImageRecord, now: datetime, wait: timedelta) -> ImageRecord:
    return replace(mark_to_publish(image, now, wait), updated_at=now)


def image_state(image: ImageRecord, content: ContentRecord | None) -> tuple[ImageState, Reason | None]:
    """State and reason of an image, from its own row and the row of the content that it refers to."""
    if not image.exists:
        return ImageState.REMOVED, None
    if image.reason is not None:
        return ImageState.REJECTED, image.reason
    if content is None or content.state in (ContentState.PENDING, ContentState.DELETING):
        return ImageState.PENDING, None
    if content.state is ContentState.REJECTED:
        return ImageState.REJECTED, content.reason
    return ImageState.INDEXED, None


def listed_state(image: ImageRecord) -> tuple[ImageState, str | None]:
    """The state, and the slug of a rejection, under which an image is counted and listed.

    It follows from the image's own row: what was last published of these very bytes. So it is ``image_state`` as soon
    as that was published, and no other row has to be written or read for it.
    """
    if not image.exists:
        return ImageState.REMOVED, None
    if image.reason is not None:
        return ImageState.REJECTED, image.reason.slug
    state, _, rest = (image.published_state or "").partition(":")
    sha256, _, reason = rest.partition(":")
    if sha256 != image.sha256 or state not in (ImageState.INDEXED, ImageState.REJECTED):
        return ImageState.PENDING, None
    return ImageState(state), Reason.parse(reason).slug if reason else None


# What the change stream was told of images.


def published_state(image: ImageRecord, content: ContentRecord | None) -> str:
    """All that a snapshot tells of the image's state, as one text: to see whether the last one is still the truth."""
    state, reason = image_state(image, content)
    return f"{state}:{image.sha256 or ''}:{reason or ''}"


def published_state_of(content: ContentRecord) -> str:
    """The ``published_state`` of any image that refers to this content."""
    image = ImageRecord(id="", bucket=content.bucket, key="", etag="it is there", sha256=content.sha256)
    return published_state(image, content)


def published_as(state: str) -> tuple[str, str]:
    """The ``published_state`` of rows whose last snapshot told this; of some an earlier tombstone may still arrive."""
    return state, f"{ERASED}:{state}"


def is_published(image: ImageRecord, content: ContentRecord | None) -> bool:
    """Whether the last snapshot is still the truth."""
    return image.version == image.published_version and image.published_state == published_state(image, content)


def is_announced(image: ImageRecord, content: ContentRecord | None) -> bool:
    """Whether the committed row already says that there is something to be sent, if there is.

    If not, ``mark_to_publish`` has to be committed first. Else a worker could die between sending "pending" for an
    image that was published as indexed and committing that it did: once the content is indexed again, nobody would
    know that there is something to send. One that was last published as pending needs no mark: its content is on the
    to-do list.
    """
    if _was_erased(image):
        return True
    settled = image.published_state is not None and not image.published_state.startswith(ImageState.PENDING)
    return image.version != image.published_version or not settled or is_published(image, content)


def mark_to_publish(image: ImageRecord, now: datetime, wait: timedelta) -> ImageRecord:
    """On the to-do list of the publisher, under a higher version; the sweep takes it up after ``wait``.

    One whose key may be erased by a late tombstone has to be published again when none can come any more.
    """
    due = now + (max(wait, LATE_ARRIVAL) if _was_erased(image) else wait)
    return replace(image, version=next_version(image, now), publish_due=due)


def next_version(image: ImageRecord, now: datetime) -> int:
    """A higher version: microseconds of the clock, so that it rises even after a tombstone's row was deleted.

    Each sending has one of its own: the same one may have been sent before, with another state, by a worker that died
    before its commit.
    """
    return max(image.version + 1, int(now.timestamp() * 1_000_000))


def put_off_publishing(image: ImageRecord, due: datetime) -> ImageRecord:
    """On the to-do list of the publisher until ``due``, if it is on it."""
    return image if image.publish_due is None else replace(image, publish_due=due)


def cancel_publishing(image: ImageRecord) -> ImageRecord:
    """Off the to-do list of the publisher: the last snapshot is still the truth."""
    return replace(image, publish_due=None)


def record_published(
    image: ImageRecord, content: ContentRecord | None, version: int, now: datetime, tombstone_after: timedelta
) -> ImageRecord:
    """The broker has accepted a snapshot of this version. A removed image is kept ``tombstone_after`` longer.

    Whether an earlier tombstone may still arrive is not forgotten: such an image stays due.
    """
    published = replace(image, version=version, published_version=version)
    state = published_state(image, content)
    if not image.exists:
        return replace(
            published, published_state=ERASING if _was_erased(image) else state, publish_due=now + tombstone_after
        )
    if may_be_erased(image, now):
        return replace(published, published_state=f"{ERASED}:{state}")
    return replace(published, published_state=state, publish_due=None)


# How the change stream forgets a removed image.


def is_expired(image: ImageRecord, now: datetime) -> bool:
    """Whether the image was published as removed, and the time that it is kept has passed."""
    return not image.exists and is_published(image, None) and image.publish_due is not None and image.publish_due <= now


def begin_erasing(image: ImageRecord, now: datetime, wait: timedelta) -> ImageRecord:
    """A tombstone is about to be sent; committed before that, so that whoever brings the image back knows of it."""
    return replace(image, published_state=ERASING, publish_due=now + wait)


def is_being_erased(image: ImageRecord) -> bool:
    """Whether the next message for the image is its tombstone."""
    return is_at_rest(image) and image.published_state == ERASING


def record_erased(image: ImageRecord, now: datetime) -> ImageRecord:
    """The broker has accepted the tombstone."""
    return replace(image, published_state=ERASED, publish_due=now + LATE_ARRIVAL)


def is_erased(image: ImageRecord) -> bool:
    """Whether the change stream has forgotten the image, so that nothing is left to say of it."""
    return is_at_rest(image) and image.published_state == ERASED


def is_at_rest(image: ImageRecord) -> bool:
    """Whether the image is removed, and was not there again since it was published so."""
    return not image.exists and image.version == image.published_version


def may_be_erased(image: ImageRecord, now: datetime) -> bool:
    """Whether a tombstone that was sent before the image came back may still arrive, after its snapshot."""
    return _was_erased(image) and image.publish_due is not None and image.publish_due > now


def _was_erased(image: ImageRecord) -> bool:
    """Whether a tombstone may have been sent since the image was last known to be told truly."""
    return (image.published_state or "").partition(":")[0] in (ERASING, ERASED)
