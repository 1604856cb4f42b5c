"""Running things side by side, where the first that fails ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def alongside[T](main: Awaitable[T], *background: Awaitable[None]) -> T:
    """The result of ``main``.

    A background task may end before it; if one fails, its error ends ``main`` and is raised. In the end nothing of it
    runs any more.
    """
    main_task = asyncio.ensure_future(main)
    tasks = [asyncio.ensure_future(task) for task in background]
    try:
        running = list(tasks)
        while not main_task.done():
            await asyncio.wait([main_task, *running], return_when=asyncio.FIRST_COMPLETED)
            for ended in running:
                if ended.done():
                    ended.result()
            running = [task for task in running if not task.done()]
        return main_task.result()
    finally:
        for task in (main_task, *tasks):
            task.cancel()
        await asyncio.gather(main_task, *tasks, return_exceptions=True)


async def first_failure(*tasks: Awaitable[None]) -> None:
    """Run all until all are done; the first error ends the others, and is raised."""
    running = [asyncio.ensure_future(task) for task in tasks]
    try:
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
