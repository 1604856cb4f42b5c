"""Starting again what ends, where that helps; ending the whole stack, with the reason, where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Final

from ops.embedded.errors import StackError
from ops.embedded.process import Process, how_ended
from schemas.exit_codes import ExitCode
from schemas.task_groups import task_group

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
STEADY_S: Final = 60.0
"""Who ran this long and then ended starts over with the shortest wait."""
MAX_RESTARTS: Final = 5
"""So often in a row, never running for ``STEADY_S``, and it is given up."""

Say = Callable[[str], None]


async def supervise(
    processes: Iterable[Process], say: Say, *, irreplaceable: Collection[str], first_wait_s: float = FIRST_WAIT_S
) -> None:
    """Watch over running processes for ever; the wait before a new start begins with ``first_wait_s`` and doubles.

    Raises StackError when one ends that can't be started again: an irreplaceable one, one that ended by itself with
    another code than 75, or one that keeps ending.
    """
    async with task_group() as tasks:
        for process in processes:
            replaceable = process.name not in irreplaceable
            tasks.create_task(_keep(process, say, replaceable=replaceable, first_wait_s=first_wait_s))


async def _keep(process: Process, say: Say, *, replaceable: bool, first_wait_s: float) -> None:
    loop = asyncio.get_running_loop()
    wait, restarts = first_wait_s, 0
    while True:
        launched = loop.time()
        code = await process.ended()
        if loop.time() - launched >= STEADY_S:
            wait, restarts = first_wait_s, 0
        # A signal (the out-of-memory killer's, or somebody's) says nothing against another try.
        may_help = code < 0 or code == ExitCode.OUTAGE
        if not (replaceable and may_help and restarts < MAX_RESTARTS):
            raise StackError(process.obituary())
        say(f"{process.name} ended ({how_ended(code)}); starting it again in {wait:.0f} s")
        await asyncio.sleep(wait)
        wait, restarts = min(wait * 2, LONGEST_WAIT_S), restarts + 1
        await process.stop()
        process.launch()
