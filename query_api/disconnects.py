"""A client that goes away stops costing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import Request

from query_api.errors import ClientGone
from query_api.services import Services


async def while_connected[T](request: Request, services: Services, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client disconnects or the time for an answer is over.

    Read the body first: until then a disconnect shows while reading. Raises ClientGone or TimeoutError.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait(
            {task, gone}, timeout=services.settings.api.request_timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if task.done():
            return task.result()
        if gone.done():
            services.metrics.disconnects.inc()
            raise ClientGone
        raise TimeoutError
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
