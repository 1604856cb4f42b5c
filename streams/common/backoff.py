"""Waiting out outages: capped, jittered back-off around idempotent steps, and what is known to be down."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final

import stamina

from schemas.errors import BucketOutage, CatalogContention, Outage
from schemas.outages import log_back, log_down
from schemas.settings import RetrySettings
from streams.common import metrics
from streams.common.ports import Clock, SystemClock
from streams.common.scope import CHECK_TIMEOUT_S

Check = Callable[[], Awaitable[None]]
"""Asks a dependency whether it answers. Raises Outage."""
BUCKET: Final = "bucket:"
"""Begins the name under which an outage of a bucket is known."""
NO_CHECKS: Final[Mapping[str, Check]] = {}


class Outages:
    """Which dependencies and buckets are down, and since when; each outage is logged as it begins and as it ends.

    Where a dependency has a check, that decides: an attempt that failed may have met a fact about one object, or begun
    before an outage was over.
    """

    def __init__(self, clock: Clock | None = None, checks: Mapping[str, Check] = NO_CHECKS) -> None:
        self._clock = clock or SystemClock()
        self._checks = checks
        self._checking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.down_since: dict[str, datetime] = {}
        self.ended: Counter[str] = Counter()
        """Outages that ended, by dependency; a reader who remembers a number sees whether there was one since."""

    async def failed(self, error: Outage) -> None:
        """An attempt has met this: an outage begins if the dependency's check does not deny it."""
        name = error.dependency
        async with self._checking[name]:
            if name not in self.down_since and not await self._answers(name, unchecked=False):
                self.began(name, str(error))

    async def succeeded(self, dependency: str) -> None:
        """An attempt has got through that had failed: the outage is over if the dependency's check does not deny it."""
        async with self._checking[dependency]:
            if dependency in self.down_since and await self._answers(dependency, unchecked=True):
                self.over(dependency)

    async def _answers(self, dependency: str, *, unchecked: bool) -> bool:
        check = self._checks.get(dependency)
        if check is None:
            return unchecked
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await check()
        except (Outage, TimeoutError):
            return False
        return True

    def began(self, dependency: str, error: str) -> None:
        """Note an outage; only its first note is logged."""
        if dependency in self.down_since:
            return
        self.down_since[dependency] = self._clock.now()
        _set_gauge(dependency, is_up=False)
        log_down(dependency, error)

    def over(self, dependency: str) -> None:
        """Note that it answers."""
        since = self.down_since.pop(dependency, None)
        _set_gauge(dependency, is_up=True)
        if since is not None:
            self.ended[dependency] += 1
            seconds = (self._clock.now() - since).total_seconds()
            log_back(dependency, down_for_s=round(seconds, 1))


def _set_gauge(dependency: str, *, is_up: bool) -> None:
    bucket = dependency.removeprefix(BUCKET)
    gauge = metrics.DEPENDENCY_UP if bucket == dependency else metrics.BUCKET_UP
    gauge.labels(bucket).set(is_up)


class OutageRetry:
    """Runs a step until it succeeds or an outage has outlasted the budget; that of a bucket only if told to."""

    def __init__(self, settings: RetrySettings, outages: Outages, *, waits_for_buckets: bool = True) -> None:
        self._settings = settings
        self._waits_for_buckets = waits_for_buckets
        self.outages = outages

    async def run[T](self, step: Callable[[], Awaitable[T]]) -> T:
        """The step's result. The step must be idempotent. Raises the last Outage when the budget is used up."""
        failed: set[str] = set()

        async def attempted() -> T:
            try:
                return await step()
            except CatalogContention:
                raise
            except Outage as error:
                failed.add(error.dependency)
                await self.outages.failed(error)
                raise

        async for attempt in stamina.retry_context(
            on=self._is_waited_out,
            attempts=None,
            timeout=self._settings.budget_s,
            wait_initial=self._settings.wait_initial_s,
            wait_max=self._settings.wait_max_s,
            wait_jitter=self._settings.wait_jitter_s,
        ):
            with attempt:
                result = await attempted()
        for dependency in failed:
            await self.outages.succeeded(dependency)
        return result

    def _is_waited_out(self, error: Exception) -> bool:
        if not isinstance(error, Outage) or (isinstance(error, BucketOutage) and not self._waits_for_buckets):
            return False
        metrics.RETRIES.labels(error.dependency).inc()
        return True
