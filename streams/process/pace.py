"""How many messages a batch takes: few when there is little to do, so that nothing waits; many under load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from time import monotonic
from typing import Any


class Pace:
    """Takes what has arrived, at most ``size`` events at once.

    A batch that is not full is held back until as much time has passed since the last one began as that one took to be
    handled, ``longest_s`` at most. So an idle worker begins at once, while a busy one gathers: a batch costs nearly the
    same whether it has one message or many.
    """

    def __init__(self, size: int, longest_s: float) -> None:
        self._size = size
        self._longest_s = longest_s
        self._began = float("-inf")
        self._took_s = 0.0

    async def batches(self, stream: Any) -> AsyncIterator[list[Any]]:
        """Batches of a Faust stream's events, which are not acknowledged, until the stream ends. Raises its error."""
        arrived: asyncio.Queue[Any] = asyncio.Queue(maxsize=self._size)

        async def read() -> None:
            async for event in stream.noack().events():
                await arrived.put(event)

        reading = asyncio.create_task(read())
        try:
            while events := await self._first(arrived, reading):
                await self._gather(arrived, events)
                self._began = monotonic()
                yield events
        finally:
            reading.cancel()

    async def timed(self, work: Awaitable[None]) -> None:
        """Do the work on a batch, and remember how long it took."""
        began = monotonic()
        await work
        self._took_s = monotonic() - began

    async def _first(self, arrived: asyncio.Queue[Any], reading: asyncio.Task[None]) -> list[Any]:
        """The next event, or nothing if the stream ends before. Raises what broke the stream."""
        getting = asyncio.ensure_future(arrived.get())
        try:
            await asyncio.wait({getting, reading}, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                return [getting.result()]
            reading.result()
            return []
        finally:
            getting.cancel()

    async def _gather(self, arrived: asyncio.Queue[Any], events: list[Any]) -> None:
        until = self._began + min(self._took_s, self._longest_s)
        while len(events) < self._size:
            try:
                events.append(arrived.get_nowait())
                continue
            except asyncio.QueueEmpty:
                left = until - monotonic()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    events.append(await arrived.get())
            except TimeoutError:
                return
