"""When the ingest worker compares everything by itself.

Events can be lost where nobody sees it: an object store announces nothing in the first moment after its start, and
may have stored what it never acknowledged. So everything is compared after each outage that was seen, after a time
in which no ingest worker watched, after events expired unread, at the very start, and every few hours. A bucket is
compared by itself when it is added, after an outage of its own, and where hints about it were acknowledged while it was
away.

Who asks and who works are two: any ingest worker writes down that a comparison is wanted; the one that has the first
partition of the bucket events does it. Two at once, around a rebalance, would do no harm but work.

A dependency that comes and goes can't keep a comparison from its turn (LONGEST_SETTLE), nor make one follow the other
(AT_MOST_HOURLY).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from schemas.errors import BucketOutage, Outage
from schemas.settings import Settings
from streams.common import metrics
from streams.common.backoff import BUCKET, OutageRetry
from streams.repair.comparison_requests import (
    LAST,
    PERIODIC,
    REQUESTED,
    ComparisonRequest,
    LastComparison,
    name_of,
    request_comparison,
)
from streams.repair.drift import Phase, Report
from streams.repair.reconcile import ReconcilePorts, Reconciliation, Scope

SETTLE: Final = timedelta(seconds=10)
"""From the end of an outage to the comparison: clients' retries and the object store's queued events come first."""
UNWATCHED: Final = timedelta(seconds=10)
"""An object store may have been restarted without anybody noticing in a gap of this length."""
WATCH_NOTED: Final = timedelta(seconds=5)
LOOK_S: Final = 1.0
LOSING: Final = ("objects", "broker")
"""The dependencies whose outages can lose events."""

LONGEST_SETTLE: Final = timedelta(minutes=2)
"""A comparison that has been wanted for so long begins, though outages keep coming."""
AT_MOST_HOURLY: Final = 12
"""Comparisons of the same that requests lead to within an hour; later ones wait."""
WATCHED: Final = "reconcile:watch"
"""Under this name the catalog remembers the last moment that was watched, and the buckets."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Course:
    """What this worker knows of the comparisons of one bucket, or of all."""

    requested_since: datetime | None = None
    """When the request that is not fulfilled yet was first seen."""
    finished: deque[datetime] = field(default_factory=lambda: deque(maxlen=AT_MOST_HOURLY))
    """The last comparisons that requests have led to."""

    def is_due(self, pending: ComparisonRequest | None, now: datetime) -> bool:
        """Whether a request is left, things have settled, or have not for too long, and not too many came before."""
        if pending is None:
            self.requested_since = None
            return False
        self.requested_since = self.requested_since or now
        settled = now >= pending.since + SETTLE or now >= self.requested_since + LONGEST_SETTLE
        spent = len(self.finished) == AT_MOST_HOURLY and now < self.finished[0] + timedelta(hours=1)
        return settled and not spent


class Schedule:
    """Keeps watch and compares. ``leads`` tells whether this worker is the one that does the work."""

    def __init__(
        self, ports: ReconcilePorts, retry: OutageRetry, settings: Settings, leads: Callable[[], bool]
    ) -> None:
        self._ports = ports
        self._retry = retry
        self._settings = settings
        self._leads = leads
        self._outages_known: dict[str, int] = {}
        self._led_before = False
        self._noted: datetime | None = None
        self._courses: defaultdict[str | None, _Course] = defaultdict(_Course)

    async def watch_for_ever(self) -> None:
        """Write down what asks for a comparison. Raises Outage beyond the budget."""
        while True:
            await self.watch()
            await asyncio.sleep(LOOK_S)

    async def work_for_ever(self) -> None:
        """Compare when it is time. An outage breaks a run off, and it is gone on with later."""
        while True:
            try:
                await self.work()
            except Outage as error:
                log.warning("reconcile_broken_off", dependency=error.dependency, error=str(error))
            await asyncio.sleep(LOOK_S)

    async def watch(self) -> None:
        """One look."""
        if self._settings.reconcile.after_outage:
            if self._has_ended(*LOSING):
                await self.request("outage")
            for bucket in self._settings.objects.buckets:
                if self._has_ended(f"{BUCKET}{bucket}"):
                    await self.request("bucket", bucket)
        if not self._leads():
            self._led_before = False
            return
        if not self._led_before:
            await self._look_back()
            self._led_before = True
        if not any(dependency in self._retry.outages.down_since for dependency in LOSING):
            await self._note_watch()

    def _has_ended(self, *dependencies: str) -> bool:
        """Whether outages of these have ended since this was last asked."""
        ended = {name: self._retry.outages.ended[name] for name in dependencies}
        is_news = any(count > self._outages_known.get(name, 0) for name, count in ended.items())
        self._outages_known |= ended
        return is_news

    async def request(self, reason: str, bucket: str | None = None) -> None:
        """Write down that a comparison which begins from now on is wanted."""
        await self._retry.run(lambda: request_comparison(reason, self._ports.catalog, self._ports.clock, bucket=bucket))

    async def _look_back(self) -> None:
        """Ask for a comparison if nobody was watching, or not all buckets, before this worker began to lead."""
        watched = await self._retry.run(lambda: self._ports.catalog.progress(WATCHED))
        if watched is None:
            await self.request("first_start")
            return
        gap = self._ports.clock.now() - datetime.fromisoformat(watched["at"])
        if self._settings.reconcile.after_outage and gap > UNWATCHED:
            await self.request("unwatched")
        for bucket in self._settings.objects.buckets:
            if bucket not in watched["buckets"]:
                await self.request("new_bucket", bucket)

    async def _note_watch(self) -> None:
        now = self._ports.clock.now()
        if self._noted is None or now - self._noted >= WATCH_NOTED:
            watched = {"at": now.isoformat(), "buckets": list(self._settings.objects.buckets)}
            await self._retry.run(lambda: self._ports.catalog.save_progress(WATCHED, watched, now))
            self._noted = now

    async def work(self) -> None:
        """Compare all buckets, or those that it is wanted of, if it is time and this worker leads."""
        if not self._leads():
            return
        request = await self._due()
        if request is not None:
            await self._fulfil(request, self._settings.objects.buckets)
        for bucket in self._settings.objects.buckets:
            request = await self._requested(bucket)
            if request is not None and f"{BUCKET}{bucket}" not in self._retry.outages.down_since:
                await self._fulfil(request, [bucket])

    async def _fulfil(self, request: ComparisonRequest, buckets: Sequence[str]) -> None:
        log.info("reconcile_begins", reason=request.reason, bucket=request.bucket)
        metrics.RECONCILES.labels(request.reason).inc()
        started: list[datetime] = []
        for bucket in buckets:
            try:
                began = await self._compare(bucket, request)
            except BucketOutage as error:
                log.warning("reconcile_broken_off", dependency=error.dependency, error=str(error))
                await self.request("bucket", bucket)
                continue
            if began is None:
                log.info("reconcile_left_to_another")
                return
            started.append(began)
        finished = self._ports.clock.now()
        last = LastComparison(min(started, default=finished), finished, request.reason)
        name = name_of(LAST, request.bucket)
        await self._retry.run(lambda: self._ports.catalog.save_progress(name, last.as_json(), finished))
        if request.reason != PERIODIC:
            self._courses[request.bucket].finished.append(finished)
        if request.bucket is None:
            metrics.RECONCILED_TIMESTAMP.set(finished.timestamp())

    async def _compare(self, bucket: str, request: ComparisonRequest) -> datetime | None:
        """Compare one bucket; when that run began, or None if another worker leads by now. Raises BucketOutage."""
        # Where a bucket is away, the others are not to wait for it.
        retry = OutageRetry(self._settings.retry, self._retry.outages, waits_for_buckets=False)
        run = Reconciliation(self._ports, retry, self._settings.reconcile)
        began: datetime | None = None
        async for report in run.run(Scope(bucket, not_before=request.since)):
            if report.phase is Phase.DONE:
                _note(report)
                began = report.started
            elif not self._leads():
                return None
        return began

    async def _due(self) -> ComparisonRequest | None:
        """The request for a comparison of everything that it is time to fulfil, if any."""
        now = self._ports.clock.now()
        last = await self._last(None)
        if last is not None:
            metrics.RECONCILED_TIMESTAMP.set(last.finished.timestamp())
        every = timedelta(hours=self._settings.reconcile.every_hours)
        if every and last is not None and now - last.finished >= every:
            return ComparisonRequest(now - every, PERIODIC)
        return await self._requested(None)

    async def _requested(self, bucket: str | None) -> ComparisonRequest | None:
        """The request for one bucket, or for all, if it is not fulfilled and it is time."""
        position = await self._retry.run(lambda: self._ports.catalog.progress(name_of(REQUESTED, bucket)))
        request = None if position is None else ComparisonRequest.parse(position, bucket)
        last = await self._last(bucket)
        if request is not None and last is not None and last.started > request.since:
            request = None
        return request if self._courses[bucket].is_due(request, self._ports.clock.now()) else None

    async def _last(self, bucket: str | None) -> LastComparison | None:
        position = await self._retry.run(lambda: self._ports.catalog.progress(name_of(LAST, bucket)))
        return None if position is None else LastComparison.parse(position)


def _note(report: Report) -> None:
    """Say in log and metrics what a finished run has found."""
    for kind, count in report.drift.items():
        metrics.DRIFT.labels(kind).inc(count)
    metrics.RECONCILE_REFUSED.inc(len(report.refused))
    say = log.error if report.refused else log.info
    say("reconciled", **{name: value for name, value in report.as_json().items() if name != "examples"})
