"""The small ports that the handlers need besides the stores: time, chance and named points."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from schemas.collection import MAX_VECTOR_ID
from schemas.errors import TIMEOUT
from schemas.records import Reason
from schemas.settings import LimitSettings, PublishSettings, SweepSettings
from schemas.topics import Topics
from stores.broker.ports import Backlog, Outbox
from stores.catalog.ports import Catalog
from stores.objects.left_out import LeftOut
from stores.objects.ports import ObjectReader
from stores.vectors.ports import VectorIndex

LOCKED_AT_ONCE = 32
"""Rows of one table that a transaction locks at most: others wait for them while bucket or broker are asked."""

LATE_RETRY_S = 10.0
"""What gave no answer in time may just have been slow: it is tried again after so long, or sooner."""

Checkpoint = Callable[[str], Awaitable[None]]
"""Called with the name of a step that was just reached. Tests stop or kill a worker there; see ``checkpoints``."""


class Clock(Protocol):
    """The time, aware and in UTC."""

    def now(self) -> datetime:
        """Now."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Now, in UTC."""
        return datetime.now(UTC)


class Retry(Protocol):
    """How an outage is waited out: ``streams.common.backoff.OutageRetry`` in a worker."""

    async def run[T](self, step: Callable[[], Awaitable[T]]) -> T:
        """The result of an idempotent step, made again after each Outage. Raises the last one when it is enough."""


def new_vector_id() -> int:
    """A random id from 0 to MAX_VECTOR_ID, never used before: a stalled worker can only touch what nobody uses."""
    return secrets.randbelow(MAX_VECTOR_ID + 1)


async def pass_by(_step: str) -> None:
    """The checkpoint of production: nothing happens."""


@dataclass(frozen=True, slots=True)
class Ports:
    """All that the handlers reach the world through. In ``objects`` what is ``left_out`` is not there."""

    objects: ObjectReader
    catalog: Catalog
    vectors: VectorIndex
    outbox: Outbox
    backlog: Backlog
    """Of the contents topic."""
    topics: Topics
    limits: LimitSettings
    sweep: SweepSettings
    copy_threshold: float
    left_out: LeftOut = field(default_factory=LeftOut)
    publish: PublishSettings = field(default_factory=PublishSettings)
    clock: Clock = field(default_factory=SystemClock)
    reached: Checkpoint = pass_by
    vector_id: Callable[[], int] = new_vector_id
    other_vectors: VectorIndex | None = None
    """The collection of the other model while a switch of models is on; what changes ``vectors`` changes it, too."""
    switch_version: int = 0
    """The version of the switch of models that these vectors were found by."""

    async def delete_vectors(self, vector_ids: Sequence[int]) -> None:
        """Delete vectors from all collections; ids that are not there are no error."""
        await self.vectors.delete(vector_ids)
        if self.other_vectors is not None:
            await self.other_vectors.delete(vector_ids)

    def retry_wait(self, reason: Reason | None) -> timedelta:
        """After so long the sweep has it tried again what can't be read, for the first time."""
        wait_s = self.sweep.unreadable_first_wait_s
        is_late = reason is not None and reason.detail == TIMEOUT
        return timedelta(seconds=min(wait_s, LATE_RETRY_S) if is_late else wait_s)

    @property
    def wait(self) -> timedelta:
        """After so long the sweep takes up what no message has finished."""
        return timedelta(seconds=self.sweep.first_wait_s)

    @property
    def tombstone_after(self) -> timedelta:
        """So long a removed image stays in the catalog and on the change stream."""
        return timedelta(hours=self.publish.tombstone_after_hours)
