"""The switch of models in the simulation: another model with its own vectors, and the command, which may be killed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from random import Random
from types import SimpleNamespace
from typing import Any, Final

from schemas.errors import RequestRefused
from schemas.model_switch import SwitchState
from streams.models.switch import Switching

OLD: Final[Any] = SimpleNamespace(name="model", id="model", dimension=4)
NEW: Final[Any] = SimpleNamespace(name="other@1", id="other", dimension=3)
"""What a switch needs of the specs."""
ROUNDS: Final = 3
"""After so many rounds the command gives up for now: something can't be read, say."""


class End(StrEnum):
    """What becomes of a switch."""

    ABANDONED = "abandoned"
    ROLLED_BACK = "rolled_back"
    SWAPPED = "swapped"
    FINISHED = "finished"


def draw_switches(seed: int) -> tuple[End, ...]:
    """Most runs have none. By a chance of its own: runs without a switch stay what they are."""
    random = Random(f"switches of {seed}")
    last = random.choice((End.SWAPPED, End.FINISHED, End.FINISHED, End.ROLLED_BACK))
    return random.choice(((), (), (last,), (random.choice((End.ABANDONED, End.ROLLED_BACK)), last)))


class Switcher:
    """Runs one switch after the other, each to its end, however often it is killed."""

    def __init__(self, steps: Switching, ends: Sequence[End]) -> None:
        self._steps = steps
        self._ends = list(ends)
        self.is_running = False

    @property
    def is_done(self) -> bool:
        """Whether all switches have come to their end."""
        return not self._ends

    @property
    def is_wanted(self) -> bool:
        """Whether somebody has to run it."""
        return not (self.is_done or self.is_running)

    def stopped(self) -> None:
        """It has ended, or was killed."""
        self.is_running = False

    async def run(self) -> None:
        """The command; killed or having given up, it is run again. ``is_running`` was set by who started it."""
        while self._ends and await self._switch(self._ends[0]):
            self._ends.pop(0)

    async def _switch(self, end: End) -> bool:
        steps = self._steps
        switch = await steps.retry.run(steps.ports.catalog.switch)
        live = await steps.retry.run(steps.ports.vectors.live)
        # What a killed command has committed may come so late that the next one finds nothing left to do.
        with suppress(RequestRefused):
            match switch.state:
                case SwitchState.IDLE if live.model_name == NEW.name:
                    return True
                case SwitchState.RETURNING | SwitchState.ABANDONED:
                    await steps.roll_back()
                    return True
                case SwitchState.FINISHING:
                    await steps.finish(NEW)
                    return True
                case _:
                    return await self._whole(end)
        state = (await steps.retry.run(steps.ports.catalog.switch)).state
        return state is SwitchState.IDLE and switch.state is not SwitchState.IDLE

    async def _whole(self, end: End) -> bool:
        steps = self._steps
        switch = await steps.begin(OLD, "old", NEW, "new", "twinlens")
        if end is End.ABANDONED and switch.state is SwitchState.BUILDING:
            await steps.roll_back()
            return True
        if switch.state is SwitchState.BUILDING and not await self._brought_over(switch):
            return False
        await steps.swap()
        if end in (End.ROLLED_BACK, End.ABANDONED):
            await steps.roll_back()
        elif end is End.FINISHED:
            await steps.finish(NEW)
        return True

    async def _brought_over(self, switch: Any) -> bool:
        for _ in range(ROUNDS):
            missing = 0
            async for done in self._steps.bring_over(switch, 0):
                missing = done.missing
            if not missing:
                found = [missing async for _, missing in self._steps.check(switch)]
                if not any(found):
                    return True
        return False
