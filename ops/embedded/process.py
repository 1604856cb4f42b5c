"""One child process: started in a group of its own, waited for until it answers, ended with all its children."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ops.embedded import watchdog
from ops.embedded.errors import StackError

POLL_S: Final = 0.1
LOG_LINES: Final = 15

Probe = Callable[[], Awaitable[bool]]
"""Whether a server answers; must not raise."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, with what added to our own environment, and how to tell that it is ready."""

    name: str
    arguments: Sequence[str | Path]
    log: Path
    ready: Probe
    environment: Mapping[str, str] = field(default_factory=dict)
    start_s: float = 90.0
    stop_s: float = 15.0


class Process:
    """A program that runs at most once at a time. Its output goes to its log."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process: asyncio.subprocess.Process | None = None

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def launch(self) -> None:
        """Start it without waiting until it is ready."""
        program = self.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        with program.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *map(str, program.arguments),
                env={**os.environ, **program.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        watchdog.watch(self._process.pid)

    async def wait_ready(self) -> None:
        """Return when it answers. Raises StackError if it ends first, or takes longer than it may."""
        deadline = asyncio.get_running_loop().time() + self.program.start_s
        while not await self.program.ready():
            if self.pid is None:
                raise StackError(self.obituary())
            if asyncio.get_running_loop().time() > deadline:
                raise StackError(f"{self.name} isn't ready after {self.program.start_s:.0f} s{self.log_end()}")
            await asyncio.sleep(POLL_S)

    async def ended(self) -> int:
        """Wait until it ends; its exit code, negative after a signal."""
        assert self._process is not None
        return await self._process.wait()

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        self._signal(signal.SIGTERM)

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL to its whole group after the time it has. Safe to repeat."""
        if self._process is None:
            return
        self.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.program.stop_s):
                await self._process.wait()
        self._signal(signal.SIGKILL)
        await self._process.wait()
        watchdog.forget(self._process.pid)
        self._process = None

    def obituary(self) -> str:
        """How it ended, with the end of its log."""
        code = self._process.returncode if self._process is not None else None
        how = "was not started" if code is None else f"ended ({how_ended(code)})"
        return f"{self.name} {how}{self.log_end()}"

    def log_end(self) -> str:
        """The last lines of its log, for messages."""
        try:
            lines = self.program.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join([f"; the end of {self.program.log}:", *(line[:300] for line in lines[-LOG_LINES:])])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def how_ended(code: int) -> str:
    """An exit code in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
