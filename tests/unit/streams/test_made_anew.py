"""Noticing that a topic was deleted and made anew, with what Faust's consumer knows and the broker tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from faust.types import TP

from schemas.errors import BrokerOutage
from streams.process import loops as background
from streams.process.loops import watch_made_anew

EVENTS = TP("events", 0)


class NoMoreEndsError(Exception):
    """The test is over."""


class Consumer:
    """An app whose consumer has one partition. Each look at the ends takes the next one, until none is left."""

    def __init__(self, *ends: int, read: int = 0) -> None:
        self.consumer = self
        self._ends = list(ends)
        self._read = read
        self.done: list[str] = []

    def assignment(self) -> set[TP]:
        """The one partition."""
        return {EVENTS}

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """The end of the log."""
        if not self._ends:
            raise NoMoreEndsError
        return dict.fromkeys(partitions, self._ends.pop(0))

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Its beginning."""
        return dict.fromkeys(partitions, 0)

    def reached(self, partition: TP) -> int:
        """What was read."""
        return {EVENTS: self._read}[partition]

    async def put_back(self, offsets: Mapping[TP, int]) -> None:
        """Commit an earlier offset."""
        self.done.append(f"put back to {offsets[EVENTS]}")

    async def told(self) -> None:
        """Whoever has to know of it."""
        self.done.append("told")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "WATCH_INTERVAL_S", 0.0)


@pytest.mark.parametrize(
    ("ends", "read"), [((3,), 12), ((12, 3), 0), ((12, 7), 5)], ids=["read beyond", "ends earlier", "read some"]
)
async def test_a_log_that_ends_earlier_than_before_is_read_from_its_beginning(ends: tuple[int, ...], read: int) -> None:
    """Also where its end is not below what was read: Faust would skip as much of the new topic."""
    consumer: Any = Consumer(*ends, read=read)
    with pytest.raises(BrokerOutage, match="a topic was made anew \\(events\\)"):
        await watch_made_anew(consumer, consumer.told)
    assert consumer.done == ["told", "put back to 0"]


async def test_a_log_that_grows_is_left_alone() -> None:
    """However often it is looked at."""
    consumer: Any = Consumer(5, 5, 9, read=5)
    with pytest.raises(NoMoreEndsError):
        await watch_made_anew(consumer, consumer.told)
    assert consumer.done == []
