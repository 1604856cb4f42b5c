"""Starts Twinlens's workers by forking a process that has imported everything: imports cost each seconds of CPU.

`python -m tests.harness.stack.forking FD` is that one, the *nursery*: it has a single thread, so that nothing is
missing in what it forks, and ends with who started it. What it forks is like a process of its own: session, group,
working folder, environment, output, arguments, end. Only its memory differs, and the name that `ps` shows.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from select import POLLIN, poll
from typing import BinaryIO

_WARMED = ("ops.cli", "ops.logs", "ops.setup", "streams.process.worker", "asyncmy")
_SINGLE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""What keeps NumPy and Arrow from starting threads when they are imported."""
_ANSWERS_WITHIN_S = 300.0
_LONGEST_REQUEST = 1 << 17


@dataclass(frozen=True, slots=True)
class Start:
    """What to run: a module as `python -m` would, in this environment (all of it) and this working folder."""

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str


class ForkError(Exception):
    """The nursery did not do what it was asked for, or has ended."""


class Forked:
    """A forked process: what is used of `subprocess.Popen`. Several threads may ask it.

    ``end`` is a pipe's, which tells the exit code.
    """

    def __init__(self, pid: int, end: int) -> None:
        self.pid = pid
        self._end = end
        self._lock = threading.Lock()
        self._code: int | None = None
        weakref.finalize(self, os.close, end)

    def poll(self) -> int | None:
        """The exit code (negative: by that signal), None while it runs. Raises ForkError if nobody knows it."""
        return self._told(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Raises subprocess.TimeoutExpired after so many seconds."""
        code = self._told(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def wait_or_kill(self, timeout: float) -> int:
        """The same, and it has ended in any case: after so many seconds its group is killed."""
        try:
            return self.wait(timeout)
        finally:
            if self.poll() is None:
                os.killpg(self.pid, signal.SIGKILL)

    def _told(self, seconds: float | None) -> int | None:
        if self._code is None and not _readable(self._end, seconds):
            return None
        with self._lock:
            if self._code is None:
                told = os.read(self._end, 16)
                if not told:
                    raise ForkError(f"nobody knows how process {self.pid} ended: the nursery has ended before it")
                self._code = int(told)
            return self._code


def fork(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    output: BinaryIO,
    *,
    errors: BinaryIO | None = None,
    folder: Path | None = None,
) -> Forked:
    """Run `python -m MODULE ARGUMENTS` in this environment (all of it) and this folder or ours; its output goes to the
    files, all to the first where there is no other for errors.

    Returns when it leads a process group of its own. Raises ForkError.
    """
    start = Start(module, arguments, {**environment}, str(folder or Path.cwd()))
    return _nursery().fork(start, output.fileno(), (errors or output).fileno())


class _Nursery:
    """The process that forks, as this one knows it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_ANSWERS_WITHIN_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                env={**os.environ, **_SINGLE_THREAD},
                cwd=Path(__file__).parents[3],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self._close)

    def fork(self, start: Start, output: int, errors: int) -> Forked:
        end, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._control, [json.dumps(asdict(start)).encode()], [output, errors, theirs])
                pid = self._control.recv(16)
        except OSError as error:
            os.close(end)
            raise ForkError(f"the nursery doesn't answer: {error!r}") from error
        finally:
            os.close(theirs)
        if not pid:
            os.close(end)
            raise ForkError("the nursery has ended; what it complained of is in this process's standard error")
        return Forked(int(pid), end)

    def _close(self) -> None:
        self._control.close()
        self._process.wait(_ANSWERS_WITHIN_S)


@functools.cache
def _nursery() -> _Nursery:
    return _Nursery()


def _readable(descriptor: int, seconds: float | None) -> bool:
    asked = poll()
    asked.register(descriptor, POLLIN)
    return bool(asked.poll(None if seconds is None else seconds * 1000))


def _serve(control: socket.socket) -> Start | None:
    """Fork until the owner is gone: None. In each process that is forked: what it is to run."""
    ends: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not control:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _tell_end(*ends.pop(key.fd))
                    continue
                request, descriptors, _, _ = socket.recv_fds(control, _LONGEST_REQUEST, 3)
                if not request:
                    return None
                output, errors, end = descriptors
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    return _become(Start(**json.loads(request)), control, output, errors)
                os.close(output)
                os.close(errors)
                watched = os.pidfd_open(pid)
                ends[watched] = (pid, end)
                selector.register(watched, selectors.EVENT_READ)


def _tell_end(pid: int, end: int) -> None:
    """Take leave of a process that has ended, and tell its exit code to who had it started, if there still is one."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(end, str(code).encode())
    os.close(end)


def _become(start: Start, control: socket.socket, output: int, errors: int) -> Start:
    """Make of a process that was just forked one of its own, and say so: from then on signals reach its group."""
    os.setsid()
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.environ.clear()
    os.environ.update(start.environment)
    os.chdir(start.folder)
    control.send(str(os.getpid()).encode())
    control.close()
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    gc.enable()
    return start


def _warm_up() -> None:
    """Import everything. What is imported stays: the collector of the forked processes needn't look at it."""
    gc.disable()
    for module in _WARMED:
        importlib.import_module(module)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise ForkError(f"an import has started {threads - 1} threads, which what is forked would lack")
    gc.freeze()


if __name__ == "__main__":
    _warm_up()
    if (_start := _serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        sys.argv[1:] = _start.arguments
        # It is run as the main module, not as the one that was imported; runpy would warn of the two.
        sys.modules.pop(_start.module, None)
        runpy.run_module(_start.module, run_name="__main__", alter_sys=True)
