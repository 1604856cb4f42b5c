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
from typing import Literal

from ops.embedded import watchdog

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


class ServerProcess:
    """A server in its own process group, logging to `log`.

    `is_ready` is asked until it answers true; it must not raise. `start` after `stop` or `kill` runs the same
    command, so ports and data stay.
    """

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
        self.name = name
        self._command = command
        self._log = log
        self._is_ready = is_ready
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The running process's id, which is its group's too; None when it doesn't run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How the process ended (negative: by that signal); None while it runs or before its start."""
        return self._process.poll() if self._process is not None else None

    def launch(self) -> None:
        """Start the process without waiting for it; nothing happens if it already runs."""
        if self.pid is not None:
            return
        self._reap()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                list(self._command.arguments),
                env={**os.environ, **self._command.environment},
                cwd=self._command.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        watchdog.watch(self._process.pid)

    def wait_ready(self) -> None:
        """Return when the server answers; raise `ServerError` if it ends first or the deadline passes."""
        deadline = time.monotonic() + self._start_seconds
        while not self._is_ready():
            if self.pid is None:
                raise ServerError(f"{self.name} ended with {self.exit_code} while starting\n{self.log_end()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} isn't ready after {self._start_seconds:.0f} s\n{self.log_end()}")
            time.sleep(_POLL_SECONDS)

    def start(self) -> None:
        """Start the process if it doesn't run, and wait until it answers."""
        self.launch()
        self.wait_ready()

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM) without waiting for it."""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """End the process: SIGTERM, then SIGKILL to its group after the grace time. Safe to repeat."""
        self.terminate()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._stop_seconds)
        self.kill()

    def kill(self) -> None:
        """End the whole process group at once (`kill -9`) and wait until the process is gone. Safe to repeat."""
        self._signal(signal.SIGKILL)
        self._reap()

    def hang(self) -> None:
        """Stop the whole process group (SIGSTOP): its connections stay, and nothing answers until `go_on`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again after `hang`. Safe to repeat."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop in good order, then start on the same data and ports."""
        self.stop()
        self.start()

    def memory(self, what: Literal["VmRSS", "VmHWM"]) -> int:
        """The bytes that the process has in memory now (VmRSS), or had at most (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        [line] = [line for line in status.splitlines() if line.startswith(f"{what}:")]
        return int(line.split()[1]) * 1024

    def log_end(self, characters: int = 3000) -> str:
        """The last part of the log, for error messages."""
        if not self._log.exists():
            return "(no log)"
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - characters))
            return f"--- end of {self._log} ---\n{log.read().decode(errors='replace')}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(self._stop_seconds)
            watchdog.forget(self._process.pid)
            self._process = None


class _Claims:
    """The ports that this process has chosen, kept from the choice of others until it ends.

    Seconds pass from a port's choice until a server listens on it, and a killed server's port is to stay its own. So
    each chosen port is a locked byte of a file that all test processes of the user have in common.
    """

    def __init__(self) -> None:
        self._file = (Path(tempfile.gettempdir()) / f"twinlens-ports-{os.getuid()}").open("ab")
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
