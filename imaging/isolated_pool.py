"""Processes that decode for `imaging.isolated`, kept warm: to start one takes most of the time of a small picture.

A process serves one picture at a time, and no more than `_MOST_PICTURES` in its life. It goes on only after a picture
that was decoded well; what fails takes its process with it, so that no picture's failure is another's. Idle ones end by
themselves after a minute.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

COMMAND = (sys.executable, "-m", "imaging.isolated_decoder")

_MOST_PICTURES = 100
_MOST_IDLE = 2
"""Of some 30 MB each; more are started while more pictures are decoded at once."""

_ENDING_S = 10

_KEPT_BYTES = 32 * 1024 * 1024
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES), "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES)}
"""glibc returns large blocks to the system and gets them anew for each picture, which takes a sixth of HEIC's time; so
many bytes a process keeps for its next picture. Other systems don't know these settings.
"""

_PIPE_BYTES = 1024 * 1024
"""A small picture passes in one piece, without switching to and fro; what any user may have on Linux."""


class Decoder:
    """One process, its ends of the pipes, and how many pictures it has decoded."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 -- a constant
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pipesize=_PIPE_BYTES,
            env={**os.environ, **_ENVIRONMENT},
            # Ctrl-C is meant for this process, which finishes its work; that of a decoder would count as a crash.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._from: BinaryIO = self._process.stdout  # type: ignore[assignment]
        self.pictures = 0

    def send(self, message: bytes) -> None:
        """Raises BrokenPipeError if the process has ended."""
        self._to.write(message)
        self._to.flush()

    def line(self) -> bytes:
        """The next line of its answer; empty if the process has ended."""
        return self._from.readline()

    def take(self, count: int) -> bytes:
        """The next bytes of its answer; fewer if the process has ended."""
        return self._from.read(count)

    def is_ready(self) -> bool:
        """Whether it takes up a picture: one that was idle may have ended meanwhile."""
        try:
            self.send(b"\n")
        except BrokenPipeError:
            return False
        return self.line() == b"\n"

    def code(self) -> int:
        """How it ended, once it has closed its pipes."""
        return self._process.wait(_ENDING_S)

    def end(self) -> None:
        """It is gone after this."""
        self._process.kill()
        for pipe in (self._to, self._from):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()


_idle: list[Decoder] = []
_lock = threading.Lock()


@contextmanager
def decoder() -> Iterator[Decoder]:
    """A process for one picture, warm if there is one."""
    lent = _warm() or Decoder()
    try:
        yield lent
    except BaseException:
        lent.end()
        raise
    lent.pictures += 1
    with _lock:
        if lent.pictures < _MOST_PICTURES and len(_idle) < _MOST_IDLE:
            _idle.append(lent)
            return
    lent.end()


def _warm() -> Decoder | None:
    while True:
        with _lock:
            if not _idle:
                return None
            found = _idle.pop()
        if found.is_ready():
            return found
        found.end()


def end_idle() -> None:
    """End those that wait for work: at the process's own end."""
    with _lock:
        ended, _idle[:] = list(_idle), []
    for one in ended:
        one.end()


atexit.register(end_idle)
# A fork has no share in its parent's processes.
os.register_at_fork(after_in_child=_idle.clear)
