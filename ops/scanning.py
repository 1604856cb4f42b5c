"""Commands that go through everything: how far they are, and when they give up."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ops.progress import progress_bar
from schemas.errors import TwinlensError


class ScanTooLong(TwinlensError):
    """A command that reads everything was not done in its time."""


@asynccontextmanager
async def scanning(what: str, *, limit_s: float, streams: bool = False) -> AsyncIterator[Callable[[int], None]]:
    """Show on standard error how many of ``what`` were looked at, as the caller tells.

    ``streams``: the answer is printed meanwhile; on a terminal it would run into the bar, and says itself how far it
    is. Raises ScanTooLong after ``limit_s`` seconds.
    """
    with progress_bar(hidden=streams and sys.stdout.isatty()) as progress:
        task = progress.add_task(what, total=None)
        try:
            async with asyncio.timeout(limit_s) as limit:
                yield lambda count: progress.advance(task, count)
        except TimeoutError as error:
            if not limit.expired():
                raise
            text = f"not done after {limit_s:g} s, and what was printed is not all; --time-limit gives it longer"
            raise ScanTooLong(text) from error
