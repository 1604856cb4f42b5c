"""Starts again whatever ends, as a container engine's restart policy would."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from schemas.exit_codes import ExitCode
from tests.harness.stack.process import ServerProcess

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_STEADY_SECONDS = 60.0
"""Who ran this long and then ended starts over with the shortest wait."""


class Supervisor:
    """Watches processes; each one that ends is launched again after a wait that doubles while it keeps ending."""

    def __init__(self, processes: Mapping[str, ServerProcess], report: Callable[[str], None]) -> None:
        self._watched = {name: _Watched(process) for name, process in processes.items()}
        self._report = report

    def look(self) -> bool:
        """Look once at all processes; whether one was launched again (its pid is another now)."""
        now = time.monotonic()
        launched = [name for name, watched in self._watched.items() if self._look_at(name, watched, now)]
        return bool(launched)

    def _look_at(self, name: str, watched: _Watched, now: float) -> bool:
        if watched.process.pid is not None:
            return False
        if watched.due is None:
            wait = watched.ended(now)
            self._report(f"{name} ended ({_reason(watched.process.exit_code)}); starting it again in {wait:.0f} s")
        if watched.due is not None and now >= watched.due:
            watched.launch(now)
            return True
        return False


class _Watched:
    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self.due: float | None = None
        self._wait = _FIRST_WAIT
        self._launched = time.monotonic()

    def ended(self, now: float) -> float:
        """Note the end; returns the seconds until the next start."""
        wait = _FIRST_WAIT if now - self._launched > _STEADY_SECONDS else self._wait
        self._wait = min(wait * 2, _LONGEST_WAIT)
        self.due = now + wait
        return wait

    def launch(self, now: float) -> None:
        self.due = None
        self._launched = now
        self.process.launch()


def _reason(exit_code: int | None) -> str:
    if exit_code == ExitCode.OUTAGE:
        return f"exit code {exit_code}: an outage outlasted its retry budget"
    if exit_code is not None and exit_code < 0:
        return f"signal {-exit_code}"
    return f"exit code {exit_code}"
