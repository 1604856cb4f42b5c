"""Tasks side by side, of which the first that fails ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """An ``asyncio.TaskGroup`` that raises what went wrong first, and not a group of all that did."""
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as failures:
        failure = _first(failures)
    if failure is not None:
        raise failure from failure.__cause__  # The group around it tells nothing.


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def run_with_background[T](main: Awaitable[T], *background: Coroutine[Any, Any, object]) -> T:
    """The result of ``main``.

    A background task may end before it; if one fails, its error ends ``main`` and is raised. In the end nothing of it
    runs any more.
    """
    async with task_group() as tasks:
        running = [tasks.create_task(task) for task in background]
        result = await main
        for task in running:
            task.cancel()
    return result
