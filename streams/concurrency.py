"""Running steps side by side, and finding the one that fails in a batch."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from schemas.errors import Outage


async def side_by_side[T](work: Iterable[Coroutine[Any, Any, T]], *, limit: int) -> list[T]:
    """The results in order, with at most ``limit`` at work. The first failure ends the others and is raised."""
    slots = asyncio.Semaphore(limit)

    async def one(coroutine: Coroutine[Any, Any, T]) -> T:
        async with slots:
            return await coroutine

    coroutines = list(work)
    tasks = [asyncio.create_task(one(coroutine)) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            _close_unstarted(coroutines)
        raise


def _close_unstarted(coroutines: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Close those whose turn never came, or Python warns of each."""
    for coroutine in coroutines:
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            coroutine.close()


async def halving[T](items: Sequence[T], step: Callable[[Sequence[T]], Awaitable[None]]) -> list[tuple[T, Exception]]:
    """Do a step for a whole batch; where it fails with a bug, for its halves, until what fails is alone.

    Returns what failed alone, with its error. The step must be idempotent. Raises Outage, which is nobody's bug.
    """
    if not items:
        return []
    try:
        await step(items)
    except Outage:
        raise
    except Exception as error:
        if len(items) == 1:
            return [(items[0], error)]
        middle = len(items) // 2
        return await halving(items[:middle], step) + await halving(items[middle:], step)
    return []
