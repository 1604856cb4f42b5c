"""Reconcile over the in-memory ports."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.records import ContentState, ObjectRef, Reason
from schemas.settings import LimitSettings
from streams.repair.drift import DriftKind, Phase
from streams.repair.reconcile import Scope
from tests.harness.installation import BUCKET
from tests.harness.pictures import picture
from tests.unit.reconcile.installation import Reconciled


async def filled(count: int) -> Reconciled:
    """An installation whose bucket was full before it came, after its backfill."""
    installation = Reconciled()
    for number in range(count):
        installation.put(f"{number:03}.png", picture(number))
    await installation.reconcile()
    await installation.work()
    assert installation.agrees()
    return installation


async def test_backfills_a_bucket_that_was_full_before() -> None:
    """Every object of a bucket that nobody announced becomes searchable by one reconcile."""
    installation = Reconciled()
    for number in range(10):
        installation.put(f"{number:03}.png", picture(number))
    report = await installation.reconcile()
    assert report.drift == {DriftKind.MISSING: 10}
    assert report.hints == 10
    await installation.work()
    assert installation.agrees()
    assert (await installation.reconcile()).differences == 0


async def test_finds_overwritten_and_deleted_objects() -> None:
    """Changes whose events were lost are found as stale rows and orphan rows, and healed by hints."""
    installation = await filled(30)
    installation.put("003.png", picture(103))
    installation.delete("004.png")
    installation.delete("029.png")
    report = await installation.reconcile()
    assert report.drift == {DriftKind.STALE: 1, DriftKind.ORPHAN_ROW: 2}
    await installation.work()
    assert installation.agrees()


async def test_never_writes_rows_itself() -> None:
    """A run changes nothing but the topics: the hints are the whole of it."""
    installation = await filled(5)
    installation.delete("001.png")
    installation.put("new.png", picture(77))
    before = dict(installation.catalog.image_rows), dict(installation.catalog.content_rows)
    sent = len(installation.outbox.sent)
    await installation.reconcile()
    assert (dict(installation.catalog.image_rows), dict(installation.catalog.content_rows)) == before
    hints = installation.outbox.sent[sent:]
    assert {hint.topic for hint in hints} == {installation.ports.topics.bucket_events}
    assert all(b"twinlens:Reconcile" in (hint.value or b"") for hint in hints)


async def test_dry_run_sends_and_deletes_nothing() -> None:
    """A dry run reports every kind of difference and leaves everything as it was."""
    installation = await filled(5)
    installation.delete("001.png")
    await installation.add_vector(4711)
    sent = len(installation.outbox.sent)
    report = await installation.reconcile(dry_run=True)
    assert report.drift == {DriftKind.ORPHAN_ROW: 1, DriftKind.ORPHAN_VECTOR: 1}
    assert len(installation.outbox.sent) == sent
    assert 4711 in installation.vectors.present()


async def test_deletes_vectors_that_nobody_carries() -> None:
    """An orphan vector is deleted after the second look, the others stay."""
    installation = await filled(5)
    await installation.add_vector(4711)
    began = installation.clock.moment
    report = await installation.reconcile()
    assert report.vectors_deleted == 1
    assert installation.clock.moment - began >= timedelta(seconds=60)
    assert installation.agrees()


async def test_spares_a_vector_that_a_pending_row_carries() -> None:
    """A vector whose content commit is still to come is never deleted, however late that comes."""
    installation = await filled(3)
    [row, *_] = installation.catalog.content_rows.values()
    installation.catalog.content_rows[row.id] = replace(
        row, state=ContentState.PENDING, dirty_since=installation.clock.now()
    )
    report = await installation.reconcile()
    assert report.vectors_deleted == 0
    assert row.vector_id in installation.vectors.present()


async def test_spares_a_vector_that_is_carried_at_the_second_look() -> None:
    """A row that shows up between the two looks, as from a lagging replica, saves its vector."""
    installation = await filled(3)
    [row, *_] = installation.catalog.content_rows.values()
    del installation.catalog.content_rows[row.id]
    run = installation.reconciliation()
    async for report in run.run(Scope(BUCKET)):
        if report.phase is Phase.SECOND_LOOK:
            installation.catalog.content_rows[row.id] = row
    assert report.drift[DriftKind.ORPHAN_VECTOR] == 1
    assert report.vectors_deleted == 0
    assert row.vector_id in installation.vectors.present()


async def test_has_missing_vectors_made_again() -> None:
    """An indexed content whose vector is gone is looked at with verify, and gets a vector again."""
    installation = await filled(5)
    [lost, *_] = installation.vectors.present()
    await installation.vectors.delete([lost])
    report = await installation.reconcile()
    assert report.drift == {DriftKind.MISSING_VECTOR: 1}
    await installation.work()
    assert installation.agrees()


async def test_finds_what_the_sweep_forgot() -> None:
    """A content that has been pending for longer than the sweep waits is sent again."""
    installation = await filled(3)
    [row, *_] = installation.catalog.content_rows.values()
    await installation.vectors.delete([row.vector_id])
    installation.catalog.content_rows[row.id] = replace(
        row, state=ContentState.PENDING, dirty_since=installation.clock.now()
    )
    assert (await installation.reconcile()).differences == 0
    await installation.clock.sleep(installation.settings.sweep.max_wait_s + 1)
    assert (await installation.reconcile()).drift == {DriftKind.PENDING_TOO_LONG: 1}
    await installation.work()
    assert installation.agrees()


async def test_finds_contents_that_no_image_refers_to() -> None:
    """A content whose last image went without a mark is removed with its vector."""
    installation = await filled(3)
    [image, *_] = installation.catalog.image_rows.values()
    del installation.catalog.image_rows[image.id]
    installation.delete(image.key)
    assert (await installation.reconcile()).drift == {DriftKind.ORPHAN_CONTENT: 1}
    await installation.work()
    assert installation.agrees()


async def test_raised_limits_make_rejected_pictures_stale() -> None:
    """What was rejected for a limit is looked at again once the limit was changed, objects and contents alike."""
    installation = Reconciled(limits=LimitSettings(max_side=16, max_object_bytes=1000))
    installation.put("wide.png", picture(1, side=32))
    installation.put("heavy.png", b"\x89PNG" + bytes(2000))
    await installation.reconcile()
    await installation.work()
    assert (await installation.reconcile()).differences == 0
    raised = _over(Reconciled(), installation)
    assert (await raised.reconcile()).drift == {DriftKind.STALE: 2}


def _over(raised: Reconciled, present: Reconciled) -> Reconciled:
    """The same stores under other limits."""
    raised.ports = replace(raised.ports, objects=present.objects, catalog=present.catalog, vectors=present.vectors)
    return raised


async def test_refuses_to_remove_much_without_force() -> None:
    """A run that would remove more than a tenth of the catalog removes nothing of it, unless forced."""
    installation = await filled(60)
    for number in range(20):
        installation.delete(f"{number:03}.png")
    report = await installation.reconcile()
    assert len(report.refused) == 1
    assert "20 of 60" in report.refused[0]
    assert report.hints == 0
    forced = await installation.reconcile(force=True)
    assert (forced.hints, forced.refused) == (20, [])
    await installation.work()
    assert installation.agrees()


async def test_refuses_to_delete_many_vectors_without_force() -> None:
    """An empty catalog beside a full index is a mistake more often than a wish: the vectors stay."""
    installation = await filled(2)
    for vector_id in range(20):
        await installation.add_vector(vector_id)
    report = await installation.reconcile()
    assert (report.vectors_deleted, len(report.refused)) == (0, 1)
    assert (await installation.reconcile(force=True)).vectors_deleted == 20
    assert installation.agrees()


async def test_a_vanished_bucket_removes_nothing() -> None:
    """An unmounted volume is an outage: the run waits for it and sends no hints meanwhile."""
    installation = await filled(5)
    sent = len(installation.outbox.sent)
    installation.objects.missing.add(BUCKET)

    async def mount_again() -> None:
        while not installation.retry.outages.down_since:  # noqa: ASYNC110 - outages have no event to wait for
            await asyncio.sleep(0)
        installation.objects.missing.clear()

    report, _ = await asyncio.gather(installation.reconcile(), mount_again())
    assert report.differences == 0
    assert len(installation.outbox.sent) == sent


async def test_goes_on_where_it_was_broken_off() -> None:
    """A run that was broken off is gone on with behind the last page, and its report covers all of it."""
    installation = Reconciled()
    for number in range(10):
        installation.put(f"{number:03}.png", picture(number))
    run = installation.reconciliation().run(Scope(BUCKET))
    for _ in range(3):
        await anext(run)
    await run.aclose()
    sent = len(installation.outbox.sent)
    assert 0 < sent < 10
    report = await installation.reconcile()
    assert report.resumed
    assert len(installation.outbox.sent) == 10
    assert report.drift == {DriftKind.MISSING: 10}
    assert not (await installation.reconcile()).resumed


async def test_a_prefix_leaves_the_rest_alone() -> None:
    """With a prefix only objects and rows under it are compared."""
    installation = Reconciled()
    installation.put("a/1.png", picture(1))
    installation.put("b/1.png", picture(2))
    await installation.add_vector(4711)
    report = await installation.reconcile(prefix="b/")
    assert report.drift == {DriftKind.MISSING: 1}
    assert [hint.key for hint in installation.outbox.sent] == [b"pictures/b/1.png"]


async def test_keeps_to_its_rate() -> None:
    """A run over 300 objects at 100 a second takes three seconds."""
    installation = Reconciled()
    for number in range(300):
        installation.put(f"{number:03}.png", b"x")
    began = installation.clock.moment
    await installation.reconcile(rate=100, page=50)
    assert installation.clock.moment - began == pytest.approx(timedelta(seconds=3), abs=timedelta(seconds=0.2))


async def test_compares_in_the_order_of_bytes() -> None:
    """Keys beyond ASCII are matched with their rows whatever a locale thinks of their order."""
    installation = Reconciled()
    for key in ("Z", "a", "ä", "z", "é", "\U0001f600", "\uffee", "a b", "A"):
        installation.put(key, picture(hash(key) % 7))
    await installation.reconcile(page=2)
    await installation.work()
    assert (await installation.reconcile(page=2)).differences == 0
    assert installation.agrees()


async def test_what_was_given_up_is_not_tried_for_ever() -> None:
    """An object that was given up for a bug is left alone until somebody asks for it."""
    installation = await filled(2)
    image = installation.catalog.image_rows[ObjectRef(BUCKET, "000.png").image_id]
    installation.catalog.image_rows[image.id] = replace(image, reason=Reason("gave_up", "TypeError: bug"))
    assert (await installation.reconcile()).differences == 0
