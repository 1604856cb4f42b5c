"""One child process: started in a group of its own, waited for until it answers, ended with all its children."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from ops.embedded import watchdog
from ops.embedded.errors import StackError

POLL_S: Final = 0.1
KILLED_WITHIN_S: Final = 60.0
"""So long a machine under load takes at most to end a large process that was killed, and to free its memory."""

Probe = Callable[[], Awaitable[bool]]
"""Whether a server answers; must not raise."""


class Running(Protocol):
    """What is used of `subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """The process id."""

    def poll(self) -> int | None:
        """The exit code (negative: by that signal); None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Raises subprocess.TimeoutExpired after so many seconds."""


class Child:
    """A program that runs at most once at a time, in a process group of its own that ends with us.

    Its output goes to its log, of which messages show the last ``log_lines``. Nothing here waits for it but ``reap``.
    """

    log_lines = 15

    def __init__(
        self,
        name: str,
        arguments: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str],
        *,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._arguments = [str(argument) for argument in arguments]
        self._environment = environment
        self._folder = folder
        self._process: Running | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, which is its group's too."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal); None while it runs or before its start."""
        return self._process.poll() if self._process is not None else None

    def launch(self) -> None:
        """Start it without waiting until it is ready; nothing happens if it already runs."""
        if self.pid is not None:
            return
        self.reap()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = self._begin(log)
        watchdog.guard(self._process.pid)

    def _begin(self, log: BinaryIO) -> Running:
        return subprocess.Popen(
            self._arguments,
            env={**os.environ, **self._environment},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its whole group, if there is one."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), without waiting."""
        self.signal(signal.SIGTERM)

    def reap(self) -> None:
        """Take leave of one that has ended, or was sent SIGKILL."""
        if self._process is not None:
            self._process.wait(KILLED_WITHIN_S)
            watchdog.release(self._process.pid)
            self._process = None

    def obituary(self) -> str:
        """How it ended, with the end of its log."""
        code = self.exit_code
        how = "was not started" if code is None else f"ended ({how_ended(code)})"
        return f"{self.name} {how}{self.log_end()}"

    def log_end(self) -> str:
        """The last lines of its log, for messages."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join([f"; the end of {self.log}:", *(line[:300] for line in lines[-self.log_lines :])])


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


class Process(Child):
    """A child of the embedded stack, which is waited for in its event loop."""

    def __init__(self, program: Program) -> None:
        super().__init__(program.name, program.arguments, program.log, program.environment)
        self.program = program

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
        await self._left()
        assert self.exit_code is not None, "it was started"
        return self.exit_code

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL to its whole group after the time it has. Safe to repeat."""
        self.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.program.stop_s):
                await self._left()
        self.signal(signal.SIGKILL)
        await self._left()
        self.reap()

    async def _left(self) -> None:
        while self.pid is not None:  # noqa: ASYNC110 -- the end of a process sets no event
            await asyncio.sleep(POLL_S)


def how_ended(code: int) -> str:
    """An exit code in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
