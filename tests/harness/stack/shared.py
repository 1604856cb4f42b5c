"""One stack for a whole test run, however many processes the run has.

The first process that asks starts a *holder* (`python -m tests.harness.stack.shared FOLDER`), which owns the
servers and offers them to all over a Unix socket. The holder lives until the run's controller lets go of `run.lock`,
be it by dying; nobody has to count.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing.managers import BaseManager
from pathlib import Path
from threading import Thread
from typing import cast

from tests.harness.stack.cache import exclusive
from tests.harness.stack.process import ServerError
from tests.harness.stack.stack import DATABASES, Addresses, DatabaseName, ServerName, Stack

_START_SECONDS = 30.0
_STOP_SECONDS = 60.0


class _Manager(BaseManager):
    """Carries calls to the holder's stack; errors come back as they were raised."""


class StackControl:
    """What a test may do with the servers: a `Stack` in this process or the holder's."""

    def __init__(self, stack: Stack, addresses: Mapping[DatabaseName, Addresses]) -> None:
        self._stack = stack
        self.addresses = addresses

    def start(self, *names: ServerName) -> None:
        """Start those of the servers that don't run, and wait until all of them answer."""
        self._stack.start(*names)

    def stop(self, *names: ServerName) -> None:
        """Stop servers (default: all) in good order."""
        self._stack.stop(*names)

    def kill(self, name: ServerName) -> None:
        """End a server as `kill -9` does; `start(name)` brings it back on the same port and data."""
        self._stack.kill(name)

    def pids(self) -> dict[str, int]:
        """The process id of each server that runs."""
        return self._stack.pids()


class TestRun:
    """The folder of a test run, held by its controller from `open` to `close`."""

    __test__ = False  # Pytest would take the name for a test class.

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = (folder / "run.lock").open("a")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let the holder stop, if there is one, and return when it has."""
        self._lock.close()
        deadline = time.monotonic() + _STOP_SECONDS
        with (self.folder / "holder.lock").open("a") as lock:
            while time.monotonic() < deadline:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                time.sleep(0.05)


def connect(folder: Path) -> StackControl:
    """The stack of the run in `folder`; its holder is started here if nobody did before."""
    socket = folder / "holder.sock"
    with exclusive(folder / "start.lock"):
        if not socket.exists():
            _start_holder(folder, socket)
    _Manager.register("stack")
    _Manager.register("addresses")
    manager = _Manager(address=str(socket), authkey=_key(folder))
    manager.connect()
    addresses = cast("dict[DatabaseName, Addresses]", manager.addresses()._getvalue())  # type: ignore[attr-defined]
    return StackControl(cast("Stack", manager.stack()), addresses)  # type: ignore[attr-defined]


def _start_holder(folder: Path, socket: Path) -> None:
    """Start the holder as nobody's child: it outlives the process that happens to need it first."""
    with (folder / "holder.log").open("ab") as log:
        subprocess.run(
            ["sh", "-c", '"$@" &', "sh", sys.executable, "-m", "tests.harness.stack.shared", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while not socket.exists():
        if time.monotonic() > deadline:
            raise ServerError(f"the holder didn't start:\n{(folder / 'holder.log').read_text(encoding='utf-8')}")
        time.sleep(0.05)


def _key(folder: Path) -> bytes:
    return folder.name.encode()


def _hold(folder: Path) -> None:
    """Serve the stack until the controller lets go of its lock."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (folder / "holder.lock").open("a") as held, (folder / "run.lock").open("a") as run:
        fcntl.flock(held, fcntl.LOCK_EX)
        stack = Stack(folder / "servers", folder / "logs", short_lived=True)
        _Manager.register("stack", lambda: stack, exposed=("start", "stop", "kill", "pids"))
        _Manager.register("addresses", lambda: {name: stack.addresses_with(name) for name in DATABASES})
        server = _Manager(address=str(folder / "holder.sock"), authkey=_key(folder)).get_server()
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            fcntl.flock(run, fcntl.LOCK_EX)
        finally:
            stack.stop()
            shutil.rmtree(folder / "servers", ignore_errors=True)


if __name__ == "__main__":
    _hold(Path(sys.argv[1]))
