"""How many messages a batch takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Self

import pytest

from streams.process.pace import Pace


class Stream:
    """A Faust stream, as far as a pace reads one."""

    def __init__(self, *events: int) -> None:
        self.arriving: asyncio.Queue[int | None] = asyncio.Queue()
        for event in events:
            self.arriving.put_nowait(event)

    def noack(self) -> Self:
        """Itself: nothing here acknowledges."""
        return self

    async def events(self) -> AsyncIterator[int]:
        """What arrives, up to None; a negative one is an error of the stream."""
        while (event := await self.arriving.get()) is not None:
            if event < 0:
                raise ConnectionError("the stream broke")
            yield event


async def test_an_idle_worker_begins_at_once() -> None:
    """A single message is a batch, without a wait, though a long one is allowed."""
    batches = Pace(10, longest_s=60).batches(Stream(1))
    async with asyncio.timeout(10):
        assert await anext(batches) == [1]


async def test_a_batch_is_no_larger_than_its_size() -> None:
    """What has arrived is taken up to the size, in order, and the rest with the next batch."""
    batches = Pace(3, longest_s=60).batches(Stream(1, 2, 3, 4, 5, 6))
    taken: list[list[int]] = []
    async with asyncio.timeout(10):
        while sum(map(len, taken)) < 6:
            taken.append(await anext(batches))
    assert [event for batch in taken for event in batch] == [1, 2, 3, 4, 5, 6]
    assert max(map(len, taken)) <= 3


async def test_a_busy_worker_gathers() -> None:
    """After a batch that took long, what arrives one after the other comes in one batch."""
    stream = Stream(0)
    pace = Pace(3, longest_s=3600)
    batches = pace.batches(stream)
    async with asyncio.timeout(10):
        await anext(batches)
        pace._took_s = 3600
        gathering = asyncio.ensure_future(anext(batches))
        for event in (1, 2, 3):
            stream.arriving.put_nowait(event)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert await gathering == [1, 2, 3]


async def test_a_full_batch_is_not_held_back() -> None:
    """However long the last batch took, as many messages as a batch may have are handled at once."""
    stream = Stream(0)
    pace = Pace(2, longest_s=3600)
    batches = pace.batches(stream)
    async with asyncio.timeout(10):
        await anext(batches)
        pace._took_s = 3600
        for event in (1, 2, 3):
            stream.arriving.put_nowait(event)
        assert await anext(batches) == [1, 2]


async def test_a_batch_is_held_back_no_longer_than_is_allowed() -> None:
    """A last batch that took an hour does not hold the next one back for an hour."""
    stream = Stream(0)
    pace = Pace(2, longest_s=0.01)
    batches = pace.batches(stream)
    async with asyncio.timeout(10):
        await anext(batches)
        pace._took_s = 3600
        stream.arriving.put_nowait(1)
        assert await anext(batches) == [1]


async def test_the_batches_end_with_the_stream() -> None:
    """A worker that is stopped in good order meets no error."""
    stream = Stream(1)
    stream.arriving.put_nowait(None)
    async with asyncio.timeout(10):
        assert [batch async for batch in Pace(2, longest_s=0).batches(stream)] == [[1]]


async def test_what_breaks_the_stream_is_raised() -> None:
    """A worker whose stream ended by an error must not wait for ever."""
    batches = Pace(2, longest_s=0).batches(Stream(-1))
    with pytest.raises(ConnectionError):
        await anext(batches)
