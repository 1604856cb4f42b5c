"""The patrol: every bucket is compared with the catalog for ever, at a bounded rate, to find what nobody announced.

A round is a comparison of objects and rows like reconcile's, remembered apart from it. Before each round the bucket's
notification rule is looked at and put back if it is gone or altered: what was lost meanwhile is found by that round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import structlog
from cachetools import LRUCache

from schemas.errors import ConfigurationError, Outage
from schemas.patrol import PatrolRound, Rule, last_round_name
from schemas.settings import Settings
from streams.common import metrics
from streams.common.backoff import OutageRetry
from streams.repair.drift import Drift, DriftKind, Phase, Report
from streams.repair.reconcile import ReconcilePorts, Reconciliation, Scope, Sleep

PAUSE_S: Final = 10.0
"""Between two rounds, so that a small bucket is not listed without end."""
BACKLOG: Final = 200
"""While more bucket events wait, the patrol does: a hint would wait behind them, and repeat many of them."""
LONGEST_WAIT_S: Final = 600.0
"""For the backlog, after each page: a backlog that never ends makes the patrol slow, and does not stop it."""
LOOK_S: Final = 1.0
HINTED_AGAIN_S: Final = (60.0, 3600.0)
"""So soon after a hint about a difference the next one is sent: a look may have come to nothing, as while the bucket
was away. From the first to the last it grows fourfold each time: what looks don't mend, many more will not."""
HINTS_KEPT: Final = 20_000
"""Differences that are remembered as hinted at; some megabytes."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the patrol needs of the worker around it: who works, how many bucket events wait, who sets rules."""

    leads: Callable[[], bool]
    backlog: Callable[[], int]
    ensure_announced: Callable[[str], Awaitable[bool]]
    """See ObjectWriter."""


class Hinted(NamedTuple):
    """When a difference was hinted at, and how long that counts, in seconds."""

    at: datetime
    for_s: float


class Patrol:
    """The patrol of one bucket, in the one worker that leads."""

    def __init__(
        self,
        bucket: str,
        ports: ReconcilePorts,
        retry: OutageRetry,
        settings: Settings,
        around: Surroundings,
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._bucket = bucket
        self._ports = ports
        self._retry = retry
        self._settings = settings
        self._around = around
        self._sleep = sleep
        self._refused = False
        self._rule: Rule | None = None
        self._hinted: LRUCache[Drift, Hinted] = LRUCache(HINTS_KEPT)

    async def work_for_ever(self) -> None:
        """Round after round. An outage breaks a round off, and it is gone on with later."""
        while True:
            try:
                await self.round()
            except Outage as error:
                # Perhaps before what was to be sent was sent.
                self._hinted.clear()
                log.warning("patrol_broken_off", bucket=self._bucket, dependency=error.dependency, error=str(error))
            await self._sleep(PAUSE_S)

    async def round(self) -> None:
        """One round, or the rest of one that was broken off; nothing while another worker leads."""
        if not self._around.leads():
            metrics.PATROL_REFUSED.labels(self._bucket).set(0)
            return
        rule = await self._look_at_rule()
        run = Reconciliation(
            self._ports,
            self._retry,
            self._settings.reconcile,
            rate=self._settings.patrol.rate,
            is_news=self._is_news,
            sleep=self._sleep,
        )
        async with aclosing(run.run(Scope(self._bucket, patrol=True))) as reports:
            async for report in reports:
                if report.phase is Phase.DONE:
                    await self._finish(report, rule)
                    return
                await self._give_way()
                if not self._around.leads():
                    return

    def _is_news(self, drift: Drift) -> bool:
        # What could not be read is tried again by the sweep.
        if drift.kind is DriftKind.UNREADABLE:
            return False
        now = self._ports.clock.now()
        first_s, longest_s = HINTED_AGAIN_S
        if (last := self._hinted.get(drift)) is None:
            self._hinted[drift] = Hinted(now, first_s)
            return True
        # A clock that was set back must not make it wait for what is hours ahead.
        if 0 <= (now - last.at).total_seconds() < last.for_s:
            return False
        self._hinted[drift] = Hinted(now, min(longest_s, 4 * last.for_s))
        return True

    async def _look_at_rule(self) -> Rule:
        if self._settings.objects.notifications == "none":
            return Rule.NONE
        try:
            rule = Rule.PUT_BACK if await self._around.ensure_announced(self._bucket) else Rule.KEPT
        except (Outage, ConfigurationError) as error:
            # The comparison needs no rule, and meets the outage itself if it is one.
            rule = Rule.FAILED
            if self._rule is not Rule.FAILED:
                log.warning("notification_rule_failed", bucket=self._bucket, error=str(error))
        if rule is Rule.PUT_BACK:
            log.warning("notification_rule_put_back", bucket=self._bucket)
        metrics.NOTIFICATION_RULES.labels(self._bucket, rule).inc()
        self._rule = rule
        return rule

    async def _give_way(self) -> None:
        waited = 0.0
        while self._around.backlog() > BACKLOG and self._around.leads() and waited < LONGEST_WAIT_S:
            await self._sleep(LOOK_S)
            waited += LOOK_S

    async def _finish(self, report: Report, rule: Rule) -> None:
        now = self._ports.clock.now()
        took_s = (now - report.started).total_seconds()
        for kind, count in report.drift.items():
            metrics.PATROL_FOUND.labels(self._bucket, kind).inc(count)
        metrics.PATROL_REFUSED.labels(self._bucket).set(len(report.refused))
        metrics.PATROL_ROUNDS.labels(self._bucket).inc()
        metrics.PATROL_ROUND_SECONDS.labels(self._bucket).set(took_s)
        metrics.PATROLLED_TIMESTAMP.labels(self._bucket).set(now.timestamp())
        if report.hints:
            drift = {str(kind): count for kind, count in report.drift.items()}
            log.info("patrol_found", bucket=self._bucket, hints=report.hints, examples=report.examples, **drift)
        if report.refused and not self._refused:
            log.error("patrol_refused", bucket=self._bucket, refused=report.refused)
        self._refused = bool(report.refused)
        last = PatrolRound(
            bucket=self._bucket,
            started=report.started,
            finished=now,
            objects=report.compared.objects,
            differences=report.differences,
            refused=tuple(report.refused),
            rule=rule,
        ).model_dump(mode="json")
        await self._retry.run(
            lambda: self._ports.catalog.save_progress(last_round_name(self._bucket), last, self._ports.clock.now())
        )
