"""The two messages that say where to look: at an object, or at a content."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from schemas.messages import OBJECT_MOVED_ON, ContentChanged, bucket_event, encode_key
from schemas.records import ContentId, ObjectRef
from schemas.topics import Topics
from schemas.tracing import TRACEPARENT
from stores.broker.ports import OutgoingMessage
from streams.common.ports import Clock

Sender = Literal["Patrol", "Reconcile", "Requested", "Retry"]
"""What sends a hint that the object store did not send."""


def object_hint(ref: ObjectRef, sender: Sender, topics: Topics, clock: Clock) -> OutgoingMessage:
    """Look at this object: a bucket event like the object store's, named after who sends it really."""
    return _hint(ref, f"twinlens:{sender}", topics, clock)


def reread_hint(ref: ObjectRef, topics: Topics, clock: Clock) -> OutgoingMessage:
    """Read this object again, even if it looks like its row: it does not hold the bytes that the row names."""
    return _hint(ref, OBJECT_MOVED_ON, topics, clock)


def _hint(ref: ObjectRef, event_name: str, topics: Topics, clock: Clock) -> OutgoingMessage:
    event = bucket_event(ref, event_name=event_name, event_time=clock.now())
    return OutgoingMessage(topics.bucket_events, encode_key(ref), event)


def content_hint(
    content_id: ContentId,
    topics: Topics,
    *,
    verify: bool = False,
    retry: bool = False,
    event_time: datetime | None = None,
    trace: str | None = None,
) -> OutgoingMessage:
    """Look at this content; see ``ContentChanged`` for what may be asked for. ``trace``: that of what led here."""
    bucket, sha256 = content_id
    message = ContentChanged(bucket=bucket, sha256=sha256, verify=verify, retry=retry, event_time=event_time)
    headers = {} if trace is None else {TRACEPARENT: trace.encode()}
    return OutgoingMessage(topics.contents, encode_key(content_id), message.encode(), headers)
