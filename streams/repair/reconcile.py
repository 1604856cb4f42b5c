"""One run over one bucket: compare, count what would be removed, send hints, delete vectors that nobody carries."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from typing import Final

from schemas.records import ContentId, ObjectRef
from schemas.settings import ReconcileSettings
from schemas.topics import Topics
from stores.broker.ports import Outbox, OutgoingMessage
from stores.catalog.ports import Catalog
from streams.common.backoff import OutageRetry
from streams.common.hints import content_hint, object_hint
from streams.common.ports import Clock, ServedVectors
from streams.repair.comparing import PAGE, ComparedPage, ComparePorts, compare_objects, compare_vectors, uncarried
from streams.repair.drift import Drift, DriftKind, Phase, Report, VectorRef

ALWAYS_ALLOWED: Final = 10
"""So few removals are never refused: a share says nothing about a small catalog."""
CANDIDATES_KEPT: Final = 100_000
"""Vectors without a row that one run deletes at most; some megabytes of ids."""
SECOND_LOOK_AT_ONCE: Final = 500
FOUND_AMONG_VECTORS: Final = (
    DriftKind.ORPHAN_VECTOR, DriftKind.ORPHAN_CONTENT, DriftKind.MISSING_VECTOR, DriftKind.PENDING_TOO_LONG
)  # fmt: skip
RESUMABLE_FOR: Final = timedelta(hours=24)
"""A run that stopped longer ago is begun anew."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scope:
    """What to compare, and what is allowed. With a prefix, or on patrol, only objects and their rows are compared."""

    bucket: str
    prefix: str = ""
    dry_run: bool = False
    force: bool = False
    not_before: datetime | None = None
    """A run that began earlier is not gone on with."""
    patrol: bool = False
    """A round of the patrol, which is remembered apart from other runs, so that neither disturbs the other."""

    @property
    def progress_name(self) -> str:
        """Where a run over this scope is remembered."""
        job = "patrol" if self.patrol else "reconcile"
        return f"{job}:{self.bucket}:{hashlib.sha256(self.prefix.encode()).hexdigest()[:16]}"

    @property
    def with_vectors(self) -> bool:
        """Whether vectors and contents are compared too."""
        return not (self.prefix or self.patrol)


@dataclass(frozen=True, slots=True)
class ReconcilePorts:
    """What a run touches."""

    comparing: ComparePorts
    catalog: Catalog
    served: ServedVectors
    outbox: Outbox
    topics: Topics
    clock: Clock
    pending_too_long: timedelta
    """What has been pending for longer was forgotten by the sweep."""


class Reconciliation:
    """Compares and heals, ``rate`` (by default that of the settings) objects, rows or vectors a second at most.

    ``is_news`` is asked before a hint about a difference is sent; by default all are.

    Rows are never written here: hints go where the object store's events go.
    """

    def __init__(
        self,
        ports: ReconcilePorts,
        retry: OutageRetry,
        settings: ReconcileSettings,
        *,
        rate: int | None = None,
        is_news: Callable[[Drift], bool] = lambda _drift: True,
        sleep: Sleep = asyncio.sleep,
        page: int = PAGE,
    ) -> None:
        self._ports = ports
        self._retry = retry
        self._settings = settings
        self._rate = rate or settings.rate
        self._is_news = is_news
        self._sleep = sleep
        self._page = page
        self._candidates: list[int] = []
        self._paced: datetime | None = None

    async def run(self, scope: Scope) -> AsyncGenerator[Report]:
        """The report so far, after each page; the last one is complete. Broken off, a run can be gone on with.

        Raises Outage when one outlasts the retry budget.
        """
        report, after = await self._begun(scope)
        if report.phase is Phase.OBJECTS:
            async for page in self._objects(scope, after):
                await self._take(page, report, scope, heal=lambda drift: drift.kind is not DriftKind.ORPHAN_ROW)
                await self._save(scope, report, page.position)
                yield report
            report.phase, after = Phase.REMOVALS, ""
        if report.phase is Phase.REMOVALS:
            if await self._may_remove_rows(report, scope):
                async for page in self._objects(scope, after):
                    orphans = [drift for drift in page.drifts if drift.kind is DriftKind.ORPHAN_ROW]
                    await self._send(orphans, report, scope)
                    await self._save(scope, report, page.position)
                    yield report
            report.phase = Phase.VECTORS
        if scope.with_vectors:
            async for _ in self._vectors(report, scope):
                yield report
        report.phase = Phase.DONE
        if not scope.dry_run:
            await self._retry.run(
                lambda: self._ports.catalog.save_progress(scope.progress_name, None, self._ports.clock.now())
            )
        yield report

    async def _begun(self, scope: Scope) -> tuple[Report, str]:
        """A new report, or that of the run that was broken off, and the key to go on behind."""
        now = self._ports.clock.now()
        fresh = Report(scope.bucket, scope.prefix, now, dry_run=scope.dry_run)
        if scope.dry_run:
            return fresh, ""
        saved = await self._retry.run(lambda: self._ports.catalog.progress(scope.progress_name))
        if saved is None:
            return fresh, ""
        report = Report.from_json(saved["report"])
        too_early = scope.not_before is not None and report.started < scope.not_before
        if too_early or now - report.started > RESUMABLE_FOR:
            return fresh, ""
        return report, saved["after"]

    async def _save(self, scope: Scope, report: Report, position: str | None) -> None:
        if scope.dry_run or position is None:
            return
        state = {"report": report.as_json(), "after": position}
        await self._retry.run(
            lambda: self._ports.catalog.save_progress(scope.progress_name, state, self._ports.clock.now())
        )

    async def _objects(self, scope: Scope, after: str) -> AsyncIterator[ComparedPage[str]]:
        async for page in compare_objects(
            scope.bucket, self._ports.comparing, self._retry, prefix=scope.prefix, after=after, page=self._page
        ):
            yield page
            await self._pace(max(page.compared))

    async def _vectors(self, report: Report, scope: Scope) -> AsyncIterator[Report]:
        """Contents and vectors. Broken off, this part begins anew: its candidates are not saved."""
        report.phase = Phase.VECTORS
        for kind in FOUND_AMONG_VECTORS:
            report.drift.pop(kind, None)
            report.examples.pop(kind, None)
        await self._save(scope, report, "")
        self._candidates = []
        comparing, too_long = self._ports.comparing, self._ports.pending_too_long
        pages = compare_vectors(scope.bucket, comparing, self._retry, too_long=too_long, page=self._page)
        async for page in pages:
            await self._pace(max(page.compared))
            await self._take(page, report, scope, heal=lambda drift: not isinstance(drift.subject, VectorRef))
            unknown = [drift.subject.vector_id for drift in page.drifts if isinstance(drift.subject, VectorRef)]
            self._candidates += unknown[: CANDIDATES_KEPT - len(self._candidates)]
            yield report
        if self._candidates and await self._may_remove_vectors(report, scope):
            report.phase = Phase.SECOND_LOOK
            yield report
            await self._second_look(report)
            yield report

    async def _take(
        self, page: ComparedPage[str] | ComparedPage[int], report: Report, scope: Scope, heal: Callable[[Drift], bool]
    ) -> None:
        """Count a page, and send hints about what ``heal`` lets through."""
        report.compared = report.compared.plus(page.compared)
        for drift in page.drifts:
            report.note(drift)
        if not scope.dry_run:
            await self._send([drift for drift in page.drifts if heal(drift)], report, scope)

    async def _may_remove_rows(self, report: Report, scope: Scope) -> bool:
        removed = report.drift[DriftKind.ORPHAN_ROW]
        if removed == 0 or scope.dry_run:
            return False
        known = await self._retry.run(lambda: self._ports.catalog.count_images(scope.bucket))
        return self._allowed(removed, known, "rows of the catalog have no object any more", report, scope)

    async def _may_remove_vectors(self, report: Report, scope: Scope) -> bool:
        if scope.dry_run:
            return False
        known = await self._retry.run(lambda: self._ports.served.in_use.count(scope.bucket))
        return self._allowed(len(self._candidates), known, "vectors have no content any more", report, scope)

    def _allowed(self, removed: int, known: int, what: str, report: Report, scope: Scope) -> bool:
        share = removed / max(known, 1)
        if scope.force or removed <= ALWAYS_ALLOWED or share <= self._settings.max_removed_share:
            return True
        allowed = f"{self._settings.max_removed_share:.0%}"
        report.refused.append(
            f"{removed:,} of {known:,} {what}, which is more than {allowed}: nothing of it was removed. "
            "If that is right, run `twinlens reconcile --force`."
        )
        return False

    async def _second_look(self, report: Report) -> None:
        """Delete those candidates that are still there and that still no content carries.

        One look would be enough, see ``uncarried``. The second is for databases that answer from a lagging replica.
        """
        await self._sleep(self._settings.second_look_s)
        for chunk in batched(self._candidates, SECOND_LOOK_AT_ONCE):
            dead = await uncarried(chunk, self._ports.catalog, self._ports.served.in_use, self._retry)
            await self._retry.run(lambda dead=dead: self._ports.served.delete(dead))  # type: ignore[misc]
            report.vectors_deleted += len(dead)
            await self._pace(len(chunk))

    async def _send(self, drifts: Sequence[Drift], report: Report, scope: Scope) -> None:
        news = [drift for drift in drifts if self._is_news(drift)]
        messages = [message for drift in news if (message := self._message(drift, scope)) is not None]
        if messages:
            await self._retry.run(lambda: self._ports.outbox.send(messages))
            report.hints += len(messages)

    def _message(self, drift: Drift, scope: Scope) -> OutgoingMessage | None:
        subject = drift.subject
        if isinstance(subject, ObjectRef):
            return object_hint(
                subject, "Patrol" if scope.patrol else "Reconcile", self._ports.topics, self._ports.clock
            )
        if isinstance(subject, ContentId):
            return content_hint(subject, self._ports.topics, verify=True, retry=drift.kind is DriftKind.UNREADABLE)
        return None

    async def _pace(self, count: int) -> None:
        """Wait so long that ``count`` since the last time is no more than the rate allows."""
        now = self._ports.clock.now()
        # A clock that was set back must not make this wait for it.
        passed = max(0.0, (now - self._paced).total_seconds()) if self._paced else 0.0
        await self._sleep(max(0.0, count / self._rate - passed))
        self._paced = self._ports.clock.now()
