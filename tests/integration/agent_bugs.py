"""Bugs of the agents and loops: functions that take the place of named ones in a worker process.

A ``sitecustomize`` module, which Python runs at its start, calls :func:`plant` there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from streams import apps, worker
from streams.deliveries import Delivery
from streams.pace import Pace
from streams.ports import Checkpoint, Ports
from streams.sweep import sweep

VARIABLE = "TWINLENS_TEST_AGENT_BUG"


async def acknowledged_first(events: Sequence[Any], handling: asyncio.Task[None], _reached: Checkpoint) -> None:
    """Acknowledges a batch before it is handled."""
    for event in events:
        event.ack()
    await handling


async def swallowed(handler: apps.Handler, deliveries: Sequence[Delivery], _pace: Pace) -> None:
    """Goes on after an error."""
    with suppress(Exception):
        await handler.handle(deliveries)


async def nothing_swept(_ports: Ports) -> int:
    """Takes up nothing that is due."""
    return 0


ACKNOWLEDGED_FIRST = "acknowledged before the write"
AGENT_BUGS: dict[str, tuple[ModuleType, Callable[..., Any], Callable[..., Any]]] = {
    ACKNOWLEDGED_FIRST: (apps, apps.acknowledged, acknowledged_first),
    "an exception swallowed": (apps, apps.handled, swallowed),
}
DEAD_SWEEP = "a dead sweep"
BUGS = {**AGENT_BUGS, DEAD_SWEEP: (worker, sweep, nothing_swept)}


def plant() -> None:
    """Put the bug that the environment names into this process. Raises KeyError for one that is not there."""
    module, original, replacement = BUGS[os.environ[VARIABLE]]
    assert getattr(module, original.__name__) is original
    setattr(module, original.__name__, replacement)


def planted_environment(bug: str, folder: Path, repository: Path) -> dict[str, str]:
    """The environment of a process with a bug; ``folder`` takes the module that Python runs at its start."""
    (folder / "sitecustomize.py").write_text(f"from {__name__} import plant\n\nplant()\n", encoding="utf-8")
    return {VARIABLE: bug, "PYTHONPATH": os.pathsep.join([str(folder), str(repository)])}
