"""When the ingest worker compares everything by itself."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.records import ObjectRef
from schemas.settings import ObjectSettings
from streams.assembly import for_reconcile
from streams.repair.comparison_requests import LAST
from streams.repair.schedule import AT_MOST_HOURLY, SETTLE, UNWATCHED, Schedule
from tests.harness.installation import BUCKET
from tests.harness.pictures import picture
from tests.unit.reconcile.installation import Reconciled

HOUR = 3600.0


def schedule(installation: Reconciled, *, leads: bool = True) -> Schedule:
    """A worker's schedule as after its start."""
    return Schedule(for_reconcile(installation.ports), installation.retry, installation.settings, lambda: leads)


async def started() -> tuple[Reconciled, Schedule]:
    """An installation after its very first comparison."""
    installation = Reconciled()
    first = schedule(installation)
    await first.watch()
    await installation.clock.sleep(SETTLE.total_seconds())
    await first.work()
    await first.watch()
    return installation, first


async def compared(installation: Reconciled, worker: Schedule) -> bool:
    """Whether the worker compares when it looks at the time: an unannounced object is found then."""
    before = len(installation.outbox.sent)
    installation.put(f"{before}.png", picture(before))
    await worker.work()
    found = len(installation.outbox.sent) > before
    await installation.work()
    return found


async def test_the_very_first_start_fills_the_catalog() -> None:
    """A bucket that was full before Twinlens came is read by the first worker that ever starts."""
    installation = Reconciled()
    installation.put("old.png", picture(1))
    worker = schedule(installation)
    await worker.watch()
    await installation.clock.sleep(SETTLE.total_seconds())
    await worker.work()
    await installation.work()
    assert installation.agrees()
    assert len(installation.catalog.image_rows) == 1


async def test_a_restart_within_the_gap_repeats_nothing() -> None:
    """A worker that follows another one at once does not compare again."""
    installation, _ = await started()
    again = schedule(installation)
    await again.watch()
    await installation.clock.sleep(SETTLE.total_seconds())
    assert not await compared(installation, again)


async def test_a_bucket_that_is_added_is_compared_at_once() -> None:
    """Also one that was taken out and put back within a restart: meanwhile nobody heeded its events."""
    installation, _ = await started()

    async def restarted(*buckets: str) -> Schedule:
        objects = ObjectSettings(buckets=buckets)
        installation.settings = installation.settings.model_copy(update={"objects": objects})
        worker = schedule(installation)
        await worker.watch()
        await installation.clock.sleep(SETTLE.total_seconds())
        await worker.watch()
        return worker

    await installation.objects.ensure_bucket("other")
    for buckets, expected in ((("other",), True), ((BUCKET, "other"), True), ((BUCKET, "other"), False)):
        worker = await restarted(*buckets)
        before = len(installation.outbox.sent)
        for bucket in buckets:
            installation.objects.put_now(ObjectRef(bucket, f"{before}.png"), picture(before))
        await worker.work()
        assert (len(installation.outbox.sent) > before) is expected
        await installation.work()


async def test_an_unwatched_time_asks_for_a_comparison() -> None:
    """After a time in which no ingest worker watched, everything is compared."""
    installation, _ = await started()
    await installation.clock.sleep(UNWATCHED.total_seconds() + 1)
    later = schedule(installation)
    await later.watch()
    assert not await compared(installation, later)
    await installation.clock.sleep(SETTLE.total_seconds())
    assert await compared(installation, later)
    assert not await compared(installation, later)


async def test_an_outage_of_the_object_store_asks_for_a_comparison() -> None:
    """An outage that ended is followed by a comparison once things have settled, and by one only."""
    installation, worker = await started()
    installation.retry.outages.began("objects", "away")
    await worker.watch()
    assert not await compared(installation, worker)
    installation.retry.outages.over("objects")
    await worker.watch()
    await installation.clock.sleep(SETTLE.total_seconds())
    assert await compared(installation, worker)
    assert not await compared(installation, worker)


async def test_an_outage_during_a_comparison_asks_for_another() -> None:
    """An outage that comes after a comparison began is followed by a comparison of its own."""
    installation, worker = await started()
    for _ in range(2):
        installation.retry.outages.began("objects", "away")
        installation.retry.outages.over("objects")
        await worker.watch()
        await installation.clock.sleep(SETTLE.total_seconds())
        assert await compared(installation, worker)


async def test_an_outage_of_the_catalog_loses_no_events() -> None:
    """Events wait in Kafka while the catalog is away, so nothing has to be compared."""
    installation, worker = await started()
    installation.retry.outages.began("catalog", "away")
    installation.retry.outages.over("catalog")
    await worker.watch()
    await installation.clock.sleep(SETTLE.total_seconds())
    assert not await compared(installation, worker)


async def test_who_does_not_lead_only_asks() -> None:
    """A worker without the first partition writes down what it saw, and the leading one compares."""
    installation, leader = await started()
    other = schedule(installation, leads=False)
    await other.request("outage")
    await installation.clock.sleep(SETTLE.total_seconds())
    assert not await compared(installation, other)
    assert await compared(installation, leader)


async def test_compares_every_few_hours_over_restarts() -> None:
    """The periodic comparison counts from the last one that ended, whichever worker made it."""
    installation, _ = await started()
    hours = installation.settings.reconcile.every_hours
    await installation.clock.sleep(hours * HOUR - timedelta(minutes=1).total_seconds())
    worker = schedule(installation)
    assert not await compared(installation, worker)
    await installation.clock.sleep(120)
    assert await compared(installation, worker)
    assert not await compared(installation, worker)


@pytest.mark.slow
@pytest.mark.parametrize("every_s", [8, 20])
async def test_an_outage_that_keeps_coming_back_neither_starves_comparisons_nor_multiplies_them(every_s: int) -> None:
    """Hours of a dependency that comes and goes: compared all the time, and no more often than is stated."""
    installation, worker = await started()
    comparisons = 0
    last = installation.catalog.positions[LAST]
    hours = 2
    for _ in range(hours * 3600 // every_s):
        installation.retry.outages.began("objects", "away")
        await installation.clock.sleep(every_s / 2)
        await worker.watch()
        await worker.work()
        installation.retry.outages.over("objects")
        await installation.clock.sleep(every_s / 2)
        await worker.watch()
        await worker.work()
        if installation.catalog.positions[LAST] != last:
            last = installation.catalog.positions[LAST]
            comparisons += 1
    assert hours <= comparisons <= (hours + 1) * AT_MOST_HOURLY


async def test_the_periodic_comparison_gets_its_turn_while_others_are_wanted() -> None:
    """A request that may not be fulfilled yet does not stand in its way."""
    installation, worker = await started()
    hours = installation.settings.reconcile.every_hours
    await installation.clock.sleep(hours * HOUR)
    await worker.request("outage")
    assert await compared(installation, worker)
    assert installation.catalog.positions[LAST]["reason"] == "periodic"


async def test_the_outage_of_a_bucket_asks_for_a_comparison_of_that_bucket() -> None:
    """Of no other, and not while it is away again."""
    installation, worker = await started()
    outages = installation.retry.outages
    outages.began(f"bucket:{BUCKET}", "gone")
    outages.over(f"bucket:{BUCKET}")
    await worker.watch()
    await installation.clock.sleep(SETTLE.total_seconds())
    outages.began(f"bucket:{BUCKET}", "gone again")
    assert not await compared(installation, worker)
    outages.over(f"bucket:{BUCKET}")
    assert await compared(installation, worker)
    assert installation.catalog.positions[f"{LAST}:{BUCKET}"]["reason"] == "bucket"
