"""Waiting for a condition, with a deadline; and a server to wait for in vain."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from schemas.errors import Outage


async def until[T](
    attempt: Callable[[], Awaitable[T]],
    accept: Callable[[T], bool] = lambda _: True,
    *,
    seconds: float = 60,
    through_outages: bool = False,
) -> T:
    """The first answer that is accepted. Fails at the deadline; outages are waited out only if that is asked for."""
    deadline = time.monotonic() + seconds
    while True:
        last: object
        try:
            last = answer = await attempt()
        except Outage as error:
            if not through_outages:
                raise
            last = error
        else:
            if accept(answer):
                return answer
        assert time.monotonic() < deadline, f"still {last!r} after {seconds} s"
        await asyncio.sleep(0.05)


@contextmanager
def silent_port() -> Iterator[int]:
    """A port of this machine that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
