"""The named points of the handlers, and the checkpoints that tests put there.

``TWINLENS_TEST_CRASH_AT=object.fetched`` makes a worker end itself with SIGKILL when it first reaches that step
(``object.fetched:3``: the third time). It is read once, at the start of a worker, and only by tests.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum

from streams.ports import Checkpoint, pass_by

CRASH_VARIABLE = "TWINLENS_TEST_CRASH_AT"


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


def checkpoint_from_environment() -> Checkpoint:
    """Nothing, or the crash that a test asked for. Raises ValueError for a step that is not there."""
    asked = os.environ.get(CRASH_VARIABLE)
    return _crash_at(asked) if asked else pass_by


def _crash_at(asked: str) -> Checkpoint:
    name, _, count = asked.partition(":")
    step = Step(name)
    left = int(count or 1)

    async def crash(reached: str) -> None:
        nonlocal left
        if reached == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return crash
