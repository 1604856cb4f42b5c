"""`make shell`: Python with the parts of the stack that the environment names.

`run(…)` awaits a coroutine: `run(catalog.totals())`. `python -i` goes on where this module ends.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Coroutine
from contextlib import AsyncExitStack

from schemas.settings import load_settings
from streams.process.composition import worker_parts

_loop = asyncio.new_event_loop()


def run[T](work: Coroutine[object, object, T]) -> T:
    """What a coroutine returns."""
    return _loop.run_until_complete(work)


def _close() -> None:
    run(_opened.aclose())
    _loop.close()


_opened = AsyncExitStack()
atexit.register(_close)
settings = load_settings()
parts = run(_opened.enter_async_context(worker_parts(settings)))
ports = parts.ports
catalog, vectors, objects, outbox = ports.catalog, ports.vectors, ports.objects, ports.outbox
print("at hand: run, settings, ports, catalog, vectors, objects, outbox")
