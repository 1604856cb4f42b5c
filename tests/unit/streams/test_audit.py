"""The audit: vectors that no search finds are counted and made anew, though the index returns them by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from imaging.histogram import HistogramEmbedder
from schemas.settings import AuditSettings, RetrySettings
from stores.vectors.memory import MemoryVectors
from stores.vectors.ports import Vector, VectorHit
from streams.assembly import for_audit
from streams.common.backoff import OutageRetry, Outages
from streams.index.converge_contents import EQUALS_LOOKED_AT
from streams.repair.audit import PROGRESS, Audit, missing_among
from tests.harness.installation import BUCKET
from tests.harness.pictures import picture
from tests.harness.waiting import until
from tests.unit.reconcile.installation import Reconciled

PICTURES = 7
PAGES = 4
"""Of a whole pass."""


class PartlyBlind(MemoryVectors):
    """An index whose searches don't reach some of its vectors."""

    unreachable: Collection[int] = ()

    async def search(
        self,
        queries: Sequence[Vector],
        *,
        limit: int,
        bucket: str | None = None,
        among: Collection[int] | None = None,
        strong: bool = False,
    ) -> list[list[VectorHit]]:
        """As if the graph had lost its ways to them."""
        reachable = set(self.present() if among is None else among) - set(self.unreachable)
        return await super().search(queries, limit=limit, bucket=bucket, among=reachable, strong=strong)


class Audited(Reconciled):
    """An installation of two buckets with pictures in the second one, which are indexed."""

    def __init__(self) -> None:
        self.index = PartlyBlind(model_name=HistogramEmbedder.model_name, dimension=HistogramEmbedder.dimension)
        super().__init__(vectors=self.index)
        objects = self.settings.objects.model_copy(update={"buckets": ("empty", BUCKET)})
        self.settings = self.settings.model_copy(update={"objects": objects})

    async def index_pictures(self, *pictures: bytes) -> None:
        """Put pictures and have them indexed."""
        for number, data in enumerate(pictures, len(self.objects.present(BUCKET))):
            self.put(f"{number}.png", data)
        await self.reconcile()
        await self.work()

    def audit(self, *, leads: bool = True) -> Audit:
        """The audit of a worker that was just started, with small pages."""
        return Audit(for_audit(self.ports), self.retry, self.settings, lambda: leads, page=3)


@pytest.fixture
async def audited() -> Audited:
    """An installation that is in order."""
    installation = Audited()
    await installation.index_pictures(*map(picture, range(PICTURES)))
    return installation


def counted(result: str) -> float:
    """What the metric says."""
    return REGISTRY.get_sample_value("twinlens_audited_total", {"result": result}) or 0.0


async def test_a_vector_that_no_search_reaches_is_counted_and_made_anew(audited: Audited) -> None:
    """It is found though index and catalog have the same ids, so that a comparison finds nothing."""
    lost = [*audited.index.present()][:2]
    audited.index.unreachable = lost
    assert (await audited.reconcile()).differences == 0
    missing, found = counted("missing"), counted("found")
    audit = audited.audit()
    for _ in range(PAGES):
        await audit.audit_page()
    assert (counted("missing") - missing, counted("found") - found) == (2, PICTURES - 2)
    await audited.work()
    assert not {*lost} & {*audited.index.present()}
    assert audited.agrees()


async def test_a_vector_that_is_gone_is_made_anew(audited: Audited) -> None:
    """What the index does not even know by its id is missing, too."""
    await audited.index.delete([*audited.index.present()][:1])
    for _ in range(PAGES):
        await audited.audit().audit_page()
    await audited.work()
    assert len(audited.index.present()) == PICTURES


async def test_vectors_with_many_equals_are_left_alone(audited: Audited) -> None:
    """A search for one of them returns only some of its equals, and that is no loss."""
    await audited.index_pictures(*(picture(0) + b"%d" % number for number in range(2 * EQUALS_LOOKED_AT)))
    sent = len(audited.outbox.sent)
    for _ in range(12):
        await audited.audit().audit_page()
    assert len(audited.outbox.sent) == sent


async def test_each_worker_goes_on_where_the_last_one_stopped(audited: Audited) -> None:
    """A pass is the empty bucket's page, and three of the other one; then it begins again."""
    audited.index.unreachable = [*audited.index.present()]
    for missing in (0, 3, 3, 1, 0, 3):
        before = counted("missing")
        await audited.audit().audit_page()
        assert counted("missing") - before == missing


async def test_what_changed_meanwhile_is_not_missing(audited: Audited) -> None:
    """A content that was removed since its row was read has lost nothing."""
    read = list(audited.catalog.content_rows.values())
    audited.delete("0.png")
    await audited.reconcile()
    await audited.work()
    assert await missing_among(read, audited.catalog, audited.vectors) == []


async def test_an_outage_does_not_end_it(audited: Audited) -> None:
    """The audit goes on after an outage that outlasts the budget."""
    audited.retry = OutageRetry(RetrySettings(budget_s=0.01, wait_initial_s=0.005, wait_jitter_s=0), Outages())
    audited.settings = audited.settings.model_copy(update={"audit": AuditSettings(rate=3000)})
    audited.index.outage = True
    found = counted("found")
    with capture_logs() as lines:
        running = asyncio.create_task(audited.audit().run_for_ever())
        await until(_soon(lambda: bool(lines)), bool, seconds=5)
        audited.index.outage = False
        await until(_soon(lambda: counted("found") - found >= PICTURES), bool, seconds=5)
        running.cancel()


@pytest.mark.parametrize(("leads", "rate"), [(False, 3000), (True, 0)])
async def test_others_do_not_audit(audited: Audited, leads: bool, rate: float) -> None:
    """Who does not lead, or is told to audit nothing, searches for nothing."""
    audited.settings = audited.settings.model_copy(update={"audit": AuditSettings(rate=rate)})
    with suppress(TimeoutError):
        await asyncio.wait_for(audited.audit(leads=leads).run_for_ever(), 0.05)
    assert await audited.catalog.progress(PROGRESS) is None


def _soon(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return condition()

    return look
