"""Running steps side by side, and finding the one that fails in a batch."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from schemas.errors import ModelsChanged, Outage
from schemas.task_groups import task_group


async def side_by_side[T](work: Iterable[Coroutine[Any, Any, T]], *, limit: int) -> list[T]:
    """The results in order, with at most ``limit`` at work. The first failure ends the others and is raised."""
    slots = asyncio.Semaphore(limit)

    async def one(coroutine: Coroutine[Any, Any, T]) -> T:
        async with slots:
            return await coroutine

    coroutines = list(work)
    try:
        async with task_group() as tasks:
            running = [tasks.create_task(one(coroutine)) for coroutine in coroutines]
    finally:
        # Those whose turn never came, or Python warns of each.
        for coroutine in coroutines:
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
    return [task.result() for task in running]


async def halving[T](items: Sequence[T], step: Callable[[Sequence[T]], Awaitable[None]]) -> list[tuple[T, Exception]]:
    """Do a step for a whole batch; where it fails with a bug, for its halves, until what fails is alone.

    Returns what failed alone, with its error. The step must be idempotent. Raises Outage and ModelsChanged, which are
    nobody's bugs.
    """
    if not items:
        return []
    try:
        await step(items)
    except (Outage, ModelsChanged):
        raise
    except Exception as error:
        if len(items) == 1:
            return [(items[0], error)]
        middle = len(items) // 2
        return await halving(items[:middle], step) + await halving(items[middle:], step)
    return []
