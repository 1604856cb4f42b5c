"""An event loop that runs whatever is ready in random order, in virtual time: a seed repeats a run exactly."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from asyncio import events
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Time passes a ``tick`` (seconds) with each callback, and jumps ahead when nothing is ready.

    ``greed`` is the chance that what became ready last runs next, so that some run far while others starve.
    """

    def __init__(self, random: Random, *, tick: float, greed: float) -> None:
        self._random = random
        self._tick = tick
        self._greed = greed
        self._now = 0.0
        self._count = 0
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.errors: list[dict[str, Any]] = []

    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self._now

    def skip(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def get_debug(self) -> bool:
        """No: it would slow the run down."""
        return False

    def is_running(self) -> bool:
        """Always: it is only used from within a run."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """A task of this loop."""
        return asyncio.Task(coro, loop=self, **options)

    def call_soon(  # type: ignore[override]  # typeshed ties callback and arguments together, to no use here
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Make a callback ready, in no particular order."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]  # likewise
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Make a callback ready when virtual time has come so far."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # likewise
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Make a callback ready at a virtual time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody caught."""
        self.errors.append(context)

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end."""
        events._set_running_loop(self)
        try:
            task = self.create_task(main)
            while not task.done():
                self._step()
            task.result()
        finally:
            events._set_running_loop(None)

    def _step(self) -> None:
        self._now += self._tick
        while self._timers and (self._timers[0][0] <= self._now or not self._ready):
            when, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                self._now = max(self._now, when)
                self._ready.append(timer)
        if not self._ready:
            raise RuntimeError("nothing is ready and nothing will be: a deadlock")
        if self._random.random() >= self._greed:
            picked = int(self._random.random() * len(self._ready))
            self._ready[picked], self._ready[-1] = self._ready[-1], self._ready[picked]
        handle = self._ready.pop()
        if not handle.cancelled():
            handle._run()
