"""The small ports that the handlers need besides the stores: time, chance, named points, the collections served."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from schemas.collection import MAX_VECTOR_ID
from schemas.records import Reason
from stores.vectors.ports import VectorIndex

LOCKED_AT_ONCE = 32
"""Rows of one table that a transaction locks at most: others wait for them while bucket or broker are asked."""

Checkpoint = Callable[[str], Awaitable[None]]
"""Called with the name of a step that was just reached. Tests stop or kill a worker there; see ``checkpoints``."""

NewId = Callable[[], int]
"""Makes a vector id: ``new_vector_id`` in a worker."""

RetryWait = Callable[[Reason | None], timedelta]
"""After so long the sweep has it tried again what can't be read for this reason, for the first time."""


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
class ServedVectors:
    """The collections of the models that are served."""

    in_use: VectorIndex
    other: VectorIndex | None = None
    """The collection of the other model while a switch of models is on; what changes ``in_use`` changes it, too."""
    switch_version: int = 0
    """The version of the switch of models that these collections were found by."""

    async def delete(self, vector_ids: Sequence[int]) -> None:
        """Delete vectors from all collections; ids that are not there are no error."""
        await self.in_use.delete(vector_ids)
        if self.other is not None:
            await self.other.delete(vector_ids)
