"""`twinlens` with something planted into its process: a bug of the agents or loops, or a crash at a step.

::

    python -m tests.integration.planted_worker PLANTED worker ingest

Production code has no switch for this: a named function of the process is replaced before the command runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

from ops.cli import app
from stores.vectors.ports import VectorEntry
from stores.vectors.views import VectorsWithViews
from streams.common.checkpoints import Step
from streams.common.deliveries import Delivery, Handler
from streams.common.ports import Checkpoint, pass_by
from streams.process import agents as apps
from streams.process import composition, roles
from streams.process.pace import Pace
from streams.repair.sweep import SweepPorts, sweep


async def acknowledged_first(events: Sequence[Any], handling: asyncio.Task[None], _reached: Checkpoint) -> None:
    """Acknowledges a batch before it is handled."""
    for event in events:
        event.ack()
    await handling


async def swallowed(handler: Handler, deliveries: Sequence[Delivery], _pace: Pace) -> None:
    """Goes on after an error."""
    with suppress(Exception):
        await handler.handle(deliveries)


async def nothing_swept(_ports: SweepPorts) -> int:
    """Takes up nothing that is due."""
    return 0


async def killed_before_wholes(self: VectorsWithViews, entries: Sequence[VectorEntry]) -> None:
    """Ends the process when the views are stored, and the wholes are not."""
    async with self._looking() as seen:
        for place, view in enumerate(seen.views):
            await view.upsert([entry._replace(vector=entry.views[place], views=()) for entry in entries])
    os.kill(os.getpid(), signal.SIGKILL)


ACKNOWLEDGED_FIRST = "acknowledged before the write"
AGENT_BUGS: dict[str, tuple[ModuleType | type, Callable[..., Any], Callable[..., Any]]] = {
    ACKNOWLEDGED_FIRST: (apps, apps.acknowledged, acknowledged_first),
    "an exception swallowed": (apps, apps.handled, swallowed),
}
DEAD_SWEEP = "a dead sweep"
KILLED_BEFORE_WHOLES = "killed between views and wholes"
BUGS: dict[str, tuple[ModuleType | type, Callable[..., Any], Callable[..., Any]]] = {
    **AGENT_BUGS,
    DEAD_SWEEP: (roles, sweep, nothing_swept),
    KILLED_BEFORE_WHOLES: (VectorsWithViews, VectorsWithViews.upsert, killed_before_wholes),
}
_CRASH = "crash at "


def crash_at(step: Step, count: int = 1) -> str:
    """What is planted for a process that ends itself with SIGKILL when it reaches the step for that time."""
    return f"{_CRASH}{step}:{count}"


def with_planted(planted: str) -> Sequence[str]:
    """The program that runs as `twinlens` with this in it."""
    return [sys.executable, "-m", "tests.integration.planted_worker", planted]


def plant(planted: str) -> None:
    """Put it into this process. Raises KeyError for a bug, and ValueError for a step, that is not there."""
    if planted.startswith(_CRASH):
        step, _, count = planted.removeprefix(_CRASH).partition(":")
        _replace(composition, pass_by, _crashing(Step(step), int(count)))
    else:
        _replace(*BUGS[planted])


def _replace(holder: ModuleType | type, original: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    assert getattr(holder, original.__name__) is original
    setattr(holder, original.__name__, replacement)


def _crashing(step: Step, count: int) -> Checkpoint:
    left = count

    async def crash(reached: str) -> None:
        nonlocal left
        if reached == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return crash


if __name__ == "__main__":
    plant(sys.argv[1])
    app(sys.argv[2:])
