"""The small ports that the handlers need besides the stores: time, chance and named points."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from schemas.collection import MAX_VECTOR_ID
from schemas.records import ContentRecord, ContentState
from schemas.settings import LimitSettings, SweepSettings
from schemas.topics import Topics
from stores.broker.ports import Outbox
from stores.catalog.ports import Catalog
from stores.objects.ports import ObjectReader
from stores.vectors.ports import VectorIndex

Checkpoint = Callable[[str], Awaitable[None]]
"""Called with the name of a step that was just reached. Tests stop or kill a worker there; see ``streams.steps``."""


class Clock(Protocol):
    """The time, aware and in UTC."""

    def now(self) -> datetime:
        """Now."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Now, in UTC."""
        return datetime.now(UTC)


def new_vector_id() -> int:
    """A random id from 0 to MAX_VECTOR_ID, never used before: a stalled worker can only touch what nobody uses."""
    return secrets.randbelow(MAX_VECTOR_ID + 1)


async def pass_by(_step: str) -> None:
    """The checkpoint of production: nothing happens."""


@dataclass(frozen=True, slots=True)
class Ports:
    """All that the handlers reach the world through."""

    objects: ObjectReader
    catalog: Catalog
    vectors: VectorIndex
    outbox: Outbox
    topics: Topics
    limits: LimitSettings
    sweep: SweepSettings
    copy_threshold: float
    clock: Clock = field(default_factory=SystemClock)
    reached: Checkpoint = pass_by
    vector_id: Callable[[], int] = new_vector_id

    def first_resend(self, now: datetime) -> datetime:
        """When the sweep takes up what no message has finished by then."""
        return now + timedelta(seconds=self.sweep.first_wait_s)

    def dirty(self, content: ContentRecord, now: datetime) -> ContentRecord:
        """The content with its dirty mark set and its version raised."""
        return content.but(
            version=content.version + 1,
            dirty_since=content.dirty_since or now,
            resend_due=self.first_resend(now),
        )

    def reborn(self, content: ContentRecord) -> ContentRecord:
        """The content as pending again, under a vector id of its own; what has the old one is to be deleted."""
        return content.but(
            state=ContentState.PENDING,
            vector_id=self.vector_id(),
            retired=(*content.retired, content.vector_id),
            attempts=0,
            reason=None,
            limits=None,
            nearest=(),
        )
