"""The named points of the handlers, at which they call their ``Checkpoint``.

In production that does nothing; tests put one there that stops or ends a worker.
"""

from __future__ import annotations

from enum import StrEnum


class Step(StrEnum):
    """Each point between fetching a message and acknowledging it where a worker may die or be overtaken."""

    OBJECT_SEEN = "object.seen"
    OBJECT_READ = "object.read"
    IMAGE_LOCKED = "image.locked"
    CONTENT_LOCKED = "content.locked"
    OBJECT_COMMITTED = "object.committed"
    CONTENT_SENT = "content.sent"
    IMAGE_SENT = "image.sent"
    IMAGE_PUBLISHED = "image.published"
    DELETING_COMMITTED = "deleting.committed"
    VECTOR_DELETED = "vector.deleted"
    CONTENT_DELETED = "content.deleted"
    ATTEMPT_COMMITTED = "attempt.committed"
    CONTENT_FETCHED = "content.fetched"
    CONTENT_DECODED = "content.decoded"
    CONTENT_EMBEDDED = "content.embedded"
    VECTOR_STORED = "vector.stored"
    INDEXED_COMMITTED = "indexed.committed"
    REJECTED_COMMITTED = "rejected.committed"
    CONTENT_CLEARED = "content.cleared"
    REQUEST_TAKEN_UP = "request.taken_up"
    REQUEST_PUT = "request.put"
    REQUEST_CONCLUDED = "request.concluded"
    OUTCOME_SENT = "outcome.sent"
    BATCH_HANDLED = "batch.handled"
    BATCH_ACKED = "batch.acked"
