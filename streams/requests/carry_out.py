"""Carry out an external producer's request once, whatever is replayed: the handler.

A row per request id remembers the object as it was when the request was first taken up. A later attempt that
finds the object with this request's id in its metadata knows that it had succeeded; one that finds anything else
than it remembers knows that somebody came in between, and lets it stand. The conditional PUT closes the window
between that look and the write.

What remains: a condition of S3 compares ETags, and equal bytes have equal ones. So a worker that stalls exactly in that
window puts its picture late if, meanwhile, another one did the same request and then somebody stored the very bytes
that were there before, or deleted the object. A delete between an interrupted PUT and its replay can't be seen either.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import stamina

from schemas import tracing
from schemas.errors import (
    TIMEOUT,
    ObjectStoreOutage,
    ObjectUnreadable,
    PreconditionFailed,
    RefusedUrl,
    RequestRefused,
)
from schemas.image_requests import ImageRequest, InvalidImageRequest
from schemas.records import (
    ANY_TYPE,
    EXTERNAL_ID,
    METADATA_MAX_BYTES,
    REQUEST_ID,
    USER_METADATA,
    ObjectRef,
    ObjectState,
    RequestRecord,
    RequestResult,
)
from schemas.topics import Topics
from schemas.tracing import TRACEPARENT
from stores.broker.ports import Outbox
from stores.objects.left_out import LeftOut
from stores.objects.ports import ObjectWriter
from streams.common.checkpoints import Step
from streams.common.hints import object_hint
from streams.common.ports import Clock
from streams.common.scope import check_bucket
from streams.requests.fetching import Fetch
from streams.requests.outcomes import RequestPorts, send_outcomes, with_outcome, words

LATE_HEADS = 3
"""Times that an object which gives no answer is asked for, before its request is refused."""
LOST_PUTS = 3
"""Conditional PUTs that may fail although nobody seems to have changed the object, before that counts as an outage."""


async def carry_out(request: ImageRequest, ports: RequestPorts) -> RequestRecord:
    """Do what the request asks, once per request id, and send its outcome. Safe to repeat.

    Raises Outage (call again; also BucketOutage), and RequestRefused where no answer is possible, since the id is that
    of another request that is still being carried out. Any other refusal is an outcome.
    """
    try:
        row, present = await _take_up(request, _target(request, ports.buckets, ports.left_out), ports)
    except RequestRefused as error:
        return await refuse(InvalidImageRequest(request.request_id, str(error)), ports)
    except ObjectUnreadable as error:
        return await refuse_unreachable(request, error, ports)
    await ports.reached(Step.REQUEST_TAKEN_UP)
    if row.outcome is None:
        try:
            outcome, reason = await _carry_out(request, row, present, ports)
        except (ObjectUnreadable, RequestRefused, RefusedUrl) as error:
            outcome, reason = RequestResult.REFUSED, words(error)
        row = await ports.ledger.conclude(with_outcome(row, outcome, reason, ports))
        await ports.reached(Step.REQUEST_CONCLUDED)
    await send_outcomes([row], ports)
    return row


async def refuse(invalid: InvalidImageRequest, ports: RequestPorts) -> RequestRecord:
    """Answer a request that can't be carried out. The first outcome of a request id stays.

    Raises RequestRefused if another request with that id is still being carried out: the id's outcome is that one's.
    """
    fresh = RequestRecord(invalid.request_id, created_at=ports.clock.now())
    row = await ports.ledger.take_up(with_outcome(fresh, RequestResult.REFUSED, words(invalid), ports))
    return await _answered(row, invalid, ports)


async def refuse_unreachable(request: ImageRequest, error: Exception, ports: RequestPorts) -> RequestRecord:
    """Answer a request whose object or bucket can't be reached, while the server answers about others.

    What an earlier attempt did is not known then, and the answer says so. Raises RequestRefused as ``refuse`` does.
    """
    ref = _target(request, ports.buckets, ports.left_out)
    unreached = RequestRecord(request.request_id, ref=ref, created_at=ports.clock.now())
    row = await ports.ledger.take_up(with_outcome(unreached, RequestResult.REFUSED, words(error), ports))
    if row.outcome is None and row.ref == ref:
        reason = words(f"an earlier attempt may have stored it; now: {error}")
        row = await ports.ledger.conclude(with_outcome(row, RequestResult.REFUSED, reason, ports))
    return await _answered(row, error, ports)


async def _answered(row: RequestRecord, fault: Exception, ports: RequestPorts) -> RequestRecord:
    """The row, once its outcome is sent. Raises RequestRefused if it is another request's and has none."""
    if row.outcome is None:
        raise RequestRefused(f"the request id {row.request_id} is in use for {row.ref}, and here: {fault}")
    await send_outcomes([row], ports)
    return row


def _target(request: ImageRequest, buckets: Sequence[str], left_out: LeftOut) -> ObjectRef:
    ref = ObjectRef(request.bucket or buckets[0], request.key)
    if ref.bucket not in buckets:
        raise RequestRefused(f"the bucket {ref.bucket} is not one of {', '.join(buckets)}")
    left_out.check(ref.key)
    return ref


async def _take_up(
    request: ImageRequest, ref: ObjectRef, ports: RequestPorts
) -> tuple[RequestRecord, ObjectState | None]:
    """The request's row, which remembers the object as it was at first, and the object as it is.

    Raises ObjectUnreadable where the server does not tell of the object, and BucketOutage.
    """
    present = await _seen(ref, ports.objects)
    fresh = RequestRecord(request.request_id, ref=ref, expected=_remembered(present), created_at=ports.clock.now())
    row = await ports.ledger.take_up(fresh)
    if row.outcome is None and row.ref != ref:
        raise RequestRefused(f"it asks for {ref}")
    if _remembered(present) != row.expected:
        # Another worker took it up meanwhile. What we saw may be older than what it remembers.
        present = await _seen(ref, ports.objects)
    return row, present


async def _seen(ref: ObjectRef, objects: ObjectWriter) -> ObjectState | None:
    @stamina.retry(on=_is_late, attempts=LATE_HEADS)
    async def head() -> ObjectState | None:
        return await objects.head(ref)

    async with _scoped(ref, objects, waits_for_late=False):
        return await head()


def _is_late(error: Exception) -> bool:
    return isinstance(error, ObjectStoreOutage) and error.code == TIMEOUT


@asynccontextmanager
async def _scoped(ref: ObjectRef, objects: ObjectWriter, *, waits_for_late: bool) -> AsyncIterator[None]:
    """Raise ObjectUnreadable where the server refuses this object, and BucketOutage where the bucket is away.

    Unless it ``waits_for_late``, an object about which the server gives no answer is unreadable, too.
    """
    try:
        yield
    except ObjectStoreOutage as error:
        # Raises its own: what the check meets is not about the object.
        await check_bucket(ref.bucket, objects)
        if error.definite or (_is_late(error) and not waits_for_late):
            raise ObjectUnreadable(str(error), code=error.code) from error
        raise


def _remembered(state: ObjectState | None) -> Mapping[str, str]:
    if state is None:
        return {}
    return {
        "etag": state.etag,
        "last_modified": state.last_modified.isoformat(),
        "request_id": state.metadata.get(REQUEST_ID, ""),
    }


async def _carry_out(
    request: ImageRequest, row: RequestRecord, present: ObjectState | None, ports: RequestPorts
) -> tuple[RequestResult, str | None]:
    assert row.ref is not None  # The row was taken up for an object.
    if request.op == "look":
        await _look(row.ref, ports.outbox, ports.topics, ports.clock)
        return RequestResult.LOOKED, None
    return await _put(request, row, present, ports)


async def _put(
    request: ImageRequest, row: RequestRecord, present: ObjectState | None, ports: RequestPorts
) -> tuple[RequestResult, str | None]:
    """Put the picture in the place of the object that the row remembers, and of no other."""
    ref = _target(request, ports.buckets, ports.left_out)
    outcome = _outcome_by_now(request, row, present)
    if outcome is not None:
        return outcome
    metadata = _user_metadata(request)
    data, content_type = await _bytes_of(request, ports.fetch, ports.max_bytes)
    for attempt in range(LOST_PUTS):
        if request.url is not None or attempt > 0:
            # Time has passed: another worker may have carried the request out, another client put something else.
            row, present = await _take_up(request, ref, ports)
            outcome = _outcome_by_now(request, row, present)
            if outcome is not None:
                return outcome
        with suppress(PreconditionFailed):
            async with _scoped(ref, ports.objects, waits_for_late=True):
                await ports.objects.put(
                    ref,
                    data,
                    content_type=content_type,
                    metadata=metadata,
                    if_match=present.etag if present else None,
                    if_absent=present is None,
                )
            await ports.reached(Step.REQUEST_PUT)
            return RequestResult.STORED, None
    raise ObjectStoreOutage(f"{row.ref} changes faster than it can be put")


def _outcome_by_now(
    request: ImageRequest, row: RequestRecord, present: ObjectState | None
) -> tuple[RequestResult, str | None] | None:
    """What became of the request, if that is settled already; None if its picture is still to be put."""
    if row.outcome is not None:
        return row.outcome, row.reason
    if present is not None and present.metadata.get(REQUEST_ID) == quote(request.request_id, safe=""):
        return RequestResult.STORED, None
    if _remembered(present) != row.expected:
        return RequestResult.SUPERSEDED, "another object took this key in the meantime"
    return None


def _user_metadata(request: ImageRequest) -> dict[str, str]:
    metadata = {**request.metadata, REQUEST_ID: quote(request.request_id, safe="")}
    if request.external_id:
        metadata[EXTERNAL_ID] = quote(request.external_id, safe="")
    return _with_trace(checked_metadata(metadata))


def _with_trace(metadata: dict[str, str]) -> dict[str, str]:
    """Metadata that the object's announcement will tell the trace of its request by, where there is room for it."""
    trace = tracing.current()
    if trace is not None:
        with suppress(RequestRefused):
            return checked_metadata({**metadata, TRACEPARENT: trace})
    return metadata


def checked_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """An object's user metadata if it is not too much for S3. Raises RequestRefused."""
    # As MinIO counts it, with the prefix of the headers. Sent far more, it just hangs up, as if it were down.
    size = sum(len(USER_METADATA) + len(name) + len(value) for name, value in metadata.items())
    if size > METADATA_MAX_BYTES:
        raise RequestRefused(
            f"the object's metadata would take {size:,} bytes, with its ids and percent-encoded; "
            f"{METADATA_MAX_BYTES:,} are allowed"
        )
    return metadata


async def _bytes_of(request: ImageRequest, fetch: Fetch, limit: int) -> tuple[bytes, str]:
    data = request.content()
    content_type = request.content_type or ANY_TYPE
    if data is None and request.url is not None:
        data, fetched_type = await fetch(request.url, limit)
        content_type = request.content_type or fetched_type
    if not data:
        raise RequestRefused("the picture has no bytes")
    if len(data) > limit:
        raise RequestRefused(f"the picture has {len(data):,} bytes; {limit:,} are allowed (limits.max_object_bytes)")
    return data, content_type


async def _look(ref: ObjectRef, outbox: Outbox, topics: Topics, clock: Clock) -> None:
    await outbox.send([object_hint(ref, "Requested", topics, clock)])
