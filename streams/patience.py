"""Waiting out outages: capped, jittered back-off around idempotent steps, and what is known to be down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime

import stamina
import structlog

from schemas.errors import CatalogContention, Outage
from schemas.settings import RetrySettings
from streams import metrics
from streams.ports import Clock, SystemClock

log = structlog.get_logger(__name__)


class Outages:
    """Which dependencies are down, and since when. Each outage is logged once when it begins and once when it ends."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.down_since: dict[str, datetime] = {}
        self.ended: Counter[str] = Counter()
        """Outages that ended, by dependency; a reader who remembers a number sees whether there was one since."""

    def began(self, error: Outage) -> None:
        """Note a failure; only the first of an outage is logged."""
        if error.dependency in self.down_since:
            return
        self.down_since[error.dependency] = self._clock.now()
        metrics.DEPENDENCY_UP.labels(error.dependency).set(0)
        log.warning("dependency_down", dependency=error.dependency, error=str(error))

    def over(self, dependency: str) -> None:
        """Note a success."""
        since = self.down_since.pop(dependency, None)
        metrics.DEPENDENCY_UP.labels(dependency).set(1)
        if since is not None:
            self.ended[dependency] += 1
            seconds = (self._clock.now() - since).total_seconds()
            log.info("dependency_back", dependency=dependency, down_for_s=round(seconds, 1))


class Patience:
    """Runs a step until it succeeds or an outage has outlasted the budget."""

    def __init__(self, settings: RetrySettings, outages: Outages) -> None:
        self._settings = settings
        self.outages = outages

    async def run[T](self, step: Callable[[], Awaitable[T]]) -> T:
        """The step's result. The step must be idempotent. Raises the last Outage when the budget is used up."""
        failed: set[str] = set()

        def is_outage(error: Exception) -> bool:
            if not isinstance(error, Outage):
                return False
            if not isinstance(error, CatalogContention):
                failed.add(error.dependency)
                self.outages.began(error)
            metrics.RETRIES.labels(error.dependency).inc()
            return True

        async for attempt in stamina.retry_context(
            on=is_outage,
            attempts=None,
            timeout=self._settings.budget_s,
            wait_initial=self._settings.wait_initial_s,
            wait_max=self._settings.wait_max_s,
            wait_jitter=self._settings.wait_jitter_s,
        ):
            with attempt:
                result = await step()
        for dependency in failed:
            self.outages.over(dependency)
        return result
