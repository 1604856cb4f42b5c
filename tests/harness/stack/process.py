"""One server process: start it, wait until it answers, stop it, kill it, start it again on the same data."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from ops.embedded.process import Child, Running
from tests.harness.stack.forking import fork

_POLL_SECONDS = 0.1
_FIRST_PORT, _LAST_PORT = 10_000, 20_000
"""Below Linux's ephemeral range (32768 up), so that no outgoing connection takes a stopped server's port, and below
those that `twinlens up` takes."""


class ServerError(Exception):
    """A server ended or didn't answer in time; the message holds the end of its log."""


@dataclass(frozen=True)
class Command:
    """What to run: arguments, environment added to this process's own, and the working folder."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


class ServerProcess(Child):
    """A server that is waited for by blocking.

    `is_ready` is asked until it answers true; it must not raise. `start` after `stop` or `kill` runs the same
    command, so ports and data stay.
    """

    log_lines = 60

    def __init__(
        self,
        name: str,
        command: Command,
        *,
        log: Path,
        is_ready: Callable[[], bool],
        start_seconds: float = 180.0,
        stop_seconds: float = 20.0,
    ) -> None:
        super().__init__(name, command.arguments, log, command.environment, folder=command.folder)
        self._is_ready = is_ready
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds

    def wait_ready(self) -> None:
        """Return when the server answers; raise `ServerError` if it ends first or the deadline passes."""
        deadline = time.monotonic() + self._start_seconds
        while not self._is_ready():
            if self.pid is None:
                raise ServerError(f"while starting, {self.obituary()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} isn't ready after {self._start_seconds:.0f} s{self.log_end()}")
            time.sleep(_POLL_SECONDS)

    def start(self) -> None:
        """Start the process if it doesn't run, and wait until it answers."""
        self.launch()
        self.wait_ready()

    def stop(self) -> None:
        """End the process: SIGTERM, then SIGKILL to its group after the grace time. Safe to repeat."""
        self.terminate()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._stop_seconds)
        self.kill()

    def kill(self) -> None:
        """End the whole process group at once (`kill -9`) and wait until the process is gone. Safe to repeat."""
        self.signal(signal.SIGKILL)
        self.reap()

    def hang(self) -> None:
        """Stop the whole process group (SIGSTOP): its connections stay, and nothing answers until `go_on`."""
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again after `hang`. Safe to repeat."""
        self.signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop in good order, then start on the same data and ports."""
        self.stop()
        self.start()

    def memory(self, what: Literal["VmRSS", "VmHWM"]) -> int:
        """The bytes that the process has in memory now (VmRSS), or had at most (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        [line] = [line for line in status.splitlines() if line.startswith(f"{what}:")]
        return int(line.split()[1]) * 1024


class ForkedProcess(ServerProcess):
    """The same of a command `python -m MODULE …` of Twinlens's, forked from a process that has imported it."""

    def _begin(self, log: BinaryIO) -> Running:
        module, *arguments = self._arguments[2:]
        return fork(module, arguments, {**os.environ, **self._environment}, log)


class _Claims:
    """The ports that this process has chosen, kept from the choice of others until it ends.

    Seconds pass from a port's choice until a server listens on it, and a killed server's port is to stay its own. So
    each chosen port is a locked byte of a file that all test processes of the user have in common.
    """

    def __init__(self) -> None:
        path = Path(tempfile.gettempdir()) / f"twinlens-ports-{os.getuid()}"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._ports: set[int] = set()

    def claim(self, port: int) -> bool:
        """Whether the port is this caller's alone from now on."""
        if port in self._ports:
            return False
        with contextlib.suppress(BlockingIOError):
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            self._ports.add(port)
            return True
        return False


@functools.cache
def _claims() -> _Claims:
    return _Claims()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, and that nobody else of the tests chooses while we run."""
    for _ in range(200):
        port = random.randrange(_FIRST_PORT, _LAST_PORT)
        if not _claims().claim(port):
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError(f"no free port between {_FIRST_PORT} and {_LAST_PORT}")


def port_answers(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:`port`."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
