"""When the ingest worker compares everything by itself.

Events can be lost where nobody sees it: an object store announces nothing in the first moment after its start, and
may have stored what it never acknowledged. So everything is compared after each outage that was seen, after a time
in which no ingest worker watched, after events expired unread, at the very start, when a bucket is added, and every few
hours.

Who asks and who works are two: any ingest worker writes down that a comparison is wanted; the one that has the first
partition of the bucket events does it. Two at once, around a rebalance, would do no harm but work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from schemas.errors import Outage
from schemas.settings import Settings
from streams import metrics
from streams.patience import Patience
from streams.ports import Ports
from streams.reconcile.drift import Phase, Report
from streams.reconcile.run import Reconciliation, Scope

SETTLE: Final = timedelta(seconds=10)
"""From the end of an outage to the comparison: clients' retries and the object store's queued events come first."""
UNWATCHED: Final = timedelta(seconds=10)
"""An object store may have been restarted without anybody noticing in a gap of this length."""
WATCH_NOTED: Final = timedelta(seconds=5)
LOOK_S: Final = 1.0
LOSING: Final = ("objects", "broker")
"""The dependencies whose outages can lose events."""

WATCHED, WANTED, LAST = "reconcile:watch", "reconcile:wanted", "reconcile:last"
"""Names of what is kept in the catalog: the last moment that was watched and the buckets, the last wish, the last
complete run."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """A comparison that begins after ``since`` is wanted."""

    since: datetime
    reason: str


class Schedule:
    """Keeps watch and compares. ``leads`` tells whether this worker is the one that does the work."""

    def __init__(self, ports: Ports, patience: Patience, settings: Settings, leads: Callable[[], bool]) -> None:
        self._ports = ports
        self._patience = patience
        self._settings = settings
        self._leads = leads
        self._outages_known = 0
        self._led_before = False
        self._noted: datetime | None = None

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
        ended = sum(self._patience.outages.ended[dependency] for dependency in LOSING)
        if ended > self._outages_known:
            self._outages_known = ended
            if self._settings.reconcile.after_outage:
                await self.want("outage")
        if not self._leads():
            self._led_before = False
            return
        if not self._led_before:
            await self._look_back()
            self._led_before = True
        if not any(dependency in self._patience.outages.down_since for dependency in LOSING):
            await self._note_watch()

    async def want(self, reason: str) -> None:
        """Write down that a comparison which begins from now on is wanted."""
        now = self._ports.clock.now()
        wish = {"since": now.isoformat(), "reason": reason}
        await self._patience.run(lambda: self._ports.catalog.save_progress(WANTED, wish, now))
        log.info("reconcile_wanted", reason=reason)

    async def _look_back(self) -> None:
        """Ask for a comparison if nobody was watching, or not all buckets, before this worker began to lead."""
        watched = await self._patience.run(lambda: self._ports.catalog.progress(WATCHED))
        if watched is None:
            await self.want("first_start")
            return
        gap = self._ports.clock.now() - datetime.fromisoformat(watched["at"])
        if not set(self._settings.objects.buckets) <= set(watched["buckets"]):
            await self.want("new_bucket")
        elif self._settings.reconcile.after_outage and gap > UNWATCHED:
            await self.want("unwatched")

    async def _note_watch(self) -> None:
        now = self._ports.clock.now()
        if self._noted is None or now - self._noted >= WATCH_NOTED:
            watched = {"at": now.isoformat(), "buckets": list(self._settings.objects.buckets)}
            await self._patience.run(lambda: self._ports.catalog.save_progress(WATCHED, watched, now))
            self._noted = now

    async def work(self) -> None:
        """Compare all buckets if it is time and this worker leads."""
        if not self._leads():
            return
        wish = await self._due()
        if wish is None:
            return
        log.info("reconcile_begins", reason=wish.reason)
        metrics.RECONCILES.labels(wish.reason).inc()
        started = [await self._compare(bucket, wish) for bucket in self._settings.objects.buckets]
        finished = self._ports.clock.now()
        complete = [moment for moment in started if moment is not None]
        if len(complete) < len(started):
            log.info("reconcile_left_to_another")
            return
        last = {"started": min(complete).isoformat(), "finished": finished.isoformat(), "reason": wish.reason}
        await self._patience.run(lambda: self._ports.catalog.save_progress(LAST, last, finished))
        metrics.RECONCILED_TIMESTAMP.set(finished.timestamp())

    async def _compare(self, bucket: str, wish: Wish) -> datetime | None:
        """Compare one bucket; when that run began, or None if another worker leads by now."""
        run = Reconciliation(self._ports, self._patience, self._settings.reconcile)
        began: datetime | None = None
        async for report in run.run(Scope(bucket, not_before=wish.since)):
            if report.phase is Phase.DONE:
                _note(report)
                began = report.started
            elif not self._leads():
                return None
        return began

    async def _due(self) -> Wish | None:
        """The wish that it is time to fulfil, if any."""
        now = self._ports.clock.now()
        wanted = await self._patience.run(lambda: self._ports.catalog.progress(WANTED))
        last = await self._patience.run(lambda: self._ports.catalog.progress(LAST))
        if last is not None:
            metrics.RECONCILED_TIMESTAMP.set(datetime.fromisoformat(last["finished"]).timestamp())
        if wanted is not None:
            wish = Wish(datetime.fromisoformat(wanted["since"]), wanted["reason"])
            if last is None or datetime.fromisoformat(last["started"]) <= wish.since:
                return wish if now >= wish.since + SETTLE else None
        every = timedelta(hours=self._settings.reconcile.every_hours)
        if every and last is not None and now - datetime.fromisoformat(last["finished"]) >= every:
            return Wish(now - every, "periodic")
        return None


def _note(report: Report) -> None:
    """Say in log and metrics what a finished run has found."""
    for kind, count in report.drift.items():
        metrics.DRIFT.labels(kind).inc(count)
    metrics.RECONCILE_REFUSED.inc(len(report.refused))
    say = log.error if report.refused else log.info
    say("reconciled", **{name: value for name, value in report.as_json().items() if name != "examples"})
