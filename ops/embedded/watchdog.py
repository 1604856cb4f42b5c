"""Ends the servers when the process that started them dies, however it dies.

Servers run in process groups of their own, so nothing ends them by itself. The process that starts them keeps a
pipe to one watchdog and tells it each group. When the pipe closes, be it by `kill -9` of the owner, the watchdog
ends every group it still knows: SIGTERM, then SIGKILL. (PR_SET_PDEATHSIG would act on the end of the *thread* that
started a server, and reaches no grandchildren.)
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

GRACE_SECONDS = 5.0

_running: list[subprocess.Popen[bytes]] = []
_lock = threading.Lock()


def guard(group: int) -> None:
    """Have process group `group` ended if this process dies."""
    _send(f"+{group}\n")


def release(group: int) -> None:
    """Process group `group` is gone; its number may be used again by others."""
    _send(f"-{group}\n")


def _send(line: str) -> None:
    with _lock:
        if not _running:
            program = [sys.executable, "-IS", __file__]
            _running.append(subprocess.Popen(program, stdin=subprocess.PIPE, start_new_session=True))
            atexit.register(_close)
        pipe = _running[0].stdin
        if pipe is None:
            raise AssertionError("the watchdog is started with a pipe")
        pipe.write(line.encode())
        pipe.flush()


def _close() -> None:
    """At this process's own end: have the watchdog end what is left, and wait for it."""
    with _lock:
        for watchdog in _running:
            watchdog.communicate()
        _running.clear()


def _end(groups: set[int]) -> None:
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE_SECONDS
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal_number)
        while time.monotonic() < deadline and any(_is_there(group) for group in groups):
            time.sleep(0.05)


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    _end(groups)


if __name__ == "__main__":
    _main()
