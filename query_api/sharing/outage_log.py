"""One log line for an outage, not one per request."""

from __future__ import annotations

import time
from collections.abc import Callable

from schemas.outages import log_back, log_down

REMIND_AFTER_S = 60.0


class OutageLog:
    """Says when a dependency goes away, reminds once a minute while requests fail for it, says when it is back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def away(self, dependency: str, error: str) -> None:
        """A request failed because of this dependency."""
        now = self._clock()
        said = self._last_said.get(dependency)
        if said is not None and now - said < REMIND_AFTER_S:
            self._unsaid[dependency] = self._unsaid.get(dependency, 0) + 1
            return
        self._last_said[dependency] = now
        log_down(dependency, error, unlogged=self._unsaid.pop(dependency, 0))

    def back(self, dependency: str) -> None:
        """The dependency was seen to answer; safe to call at any time."""
        if self._last_said.pop(dependency, None) is not None:
            log_back(dependency, unlogged=self._unsaid.pop(dependency, 0))
