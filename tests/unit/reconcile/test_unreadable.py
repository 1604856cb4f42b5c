"""What can't be read: recorded with the reason, tried again on a schedule; and hints about a bucket that is away."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from schemas.errors import TIMEOUT, ObjectStoreOutage
from schemas.messages import ImageChanged, ObjectHint
from schemas.records import ImageRecord, ObjectRef, ObjectState, Reason
from streams.assembly import LATE_RETRY_S, for_objects, for_reconcile, for_sweep
from streams.common.hints import object_hint
from streams.ingest.converge_objects import ROUNDS, ObjectOutcome, converge_objects
from streams.repair.schedule import SETTLE, Schedule
from streams.repair.sweep import sweep
from tests.harness.installation import BUCKET
from tests.harness.pictures import picture
from tests.unit.reconcile.installation import Reconciled

A, B = ObjectRef(BUCKET, "a.png"), ObjectRef(BUCKET, "b.png")
DENIED = Reason("unreadable", "AccessDenied")


def image(installation: Reconciled, ref: ObjectRef) -> ImageRecord:
    """The row of an object."""
    return installation.catalog.image_rows[ref.image_id]


def published(installation: Reconciled, ref: ObjectRef) -> tuple[str, str | None]:
    """State and reason of the last snapshot of an object."""
    changes = [ImageChanged.decode(message.value) for message in installation.outbox.to("t.image-changes")]
    last = [change for change in changes if change.key == ref.key][-1]
    return str(last.state), last.reason


async def announced(installation: Reconciled, *refs: ObjectRef) -> None:
    """Have the workers look at objects, and at all that follows."""
    await installation.outbox.send(
        [object_hint(ref, "Requested", installation.topics, installation.clock) for ref in refs]
    )
    await installation.work()


async def denied() -> Reconciled:
    """An installation with an object that can't be read, and one that can."""
    installation = Reconciled()
    installation.put(A.key, picture(1))
    installation.put(B.key, picture(2))
    installation.objects.denied.add(A)
    await announced(installation, A, B)
    return installation


async def test_an_object_that_cant_be_read_is_recorded_with_the_reason() -> None:
    """And published, while its neighbour is indexed; a second look that finds the same says nothing new."""
    installation = await denied()
    assert image(installation, A).reason == DENIED
    assert published(installation, A) == ("rejected", "unreadable: AccessDenied")
    assert published(installation, B) == ("indexed", None)
    version = image(installation, A).version
    await announced(installation, A)
    assert image(installation, A).version == version


async def test_an_object_that_can_be_read_again_is_indexed_when_its_time_comes() -> None:
    """By the sweep, without anybody announcing it."""
    installation = await denied()
    installation.objects.denied.clear()
    assert await sweep(for_sweep(installation.ports)) == 0
    await installation.clock.sleep(installation.settings.sweep.unreadable_first_wait_s)
    assert await sweep(for_sweep(installation.ports)) == 1
    await installation.work()
    assert published(installation, A) == ("indexed", None)
    assert image(installation, A).retry_due is None
    assert installation.agrees()


async def test_the_waits_double_up_to_the_longest() -> None:
    """An object that stays unreadable is looked at after two minutes, then after as long again as it has lasted."""
    installation = await denied()
    looks = [0]
    for minute in range(1, 60 * 24):
        await installation.clock.sleep(60)
        if await sweep(for_sweep(installation.ports)):
            looks.append(minute)
            await installation.work()
    waits = [later - earlier for earlier, later in pairwise(looks)]
    assert waits[0] in (2, 3)
    assert all(later <= 2 * earlier + 2 for earlier, later in pairwise(waits))
    assert waits[-1] in (240, 241)


async def test_reconcile_has_it_tried_again() -> None:
    """It is a difference of its own kind, in objects and in contents."""
    installation = await denied()
    installation.objects.denied.clear()
    report = await installation.reconcile()
    assert {str(kind): count for kind, count in report.drift.items() if count} == {"unreadable": 1}
    await installation.work()
    assert installation.agrees()


async def test_an_object_that_is_not_even_listed_is_gone() -> None:
    """A look that is refused and a listing without the key: nothing is there, also under a key that nobody can have."""
    installation = await denied()
    installation.delete(A.key)
    await announced(installation, A, ObjectRef(BUCKET, "a//b.png"), ObjectRef(BUCKET, " "))
    assert [row.key for row in installation.catalog.image_rows.values() if row.exists] == [B.key]
    assert installation.outbox.to("t.dead-letters") == []


async def test_an_indexed_picture_that_cant_be_read_any_more_stays_indexed() -> None:
    """Its bytes are known, as long as a listing tells of the same ones; it is looked at again on the schedule."""
    installation = await denied()
    installation.objects.denied.add(B)
    await announced(installation, B)
    assert published(installation, B) == ("indexed", None)
    assert image(installation, B).retry_due is not None
    installation.put(B.key, picture(3))
    await announced(installation, B)
    assert published(installation, B) == ("rejected", "unreadable: AccessDenied")


async def test_a_content_is_read_from_another_object_that_holds_it() -> None:
    """The oldest object can't be read any more when the index worker comes."""
    installation = Reconciled()
    for ref in (A, B):
        installation.put(ref.key, picture(1))
        await converge_objects([ObjectHint(ref)], for_objects(installation.ports))
    installation.objects.denied.add(A)
    await installation.work()
    assert published(installation, A) == published(installation, B) == ("indexed", None)


async def test_a_content_of_which_no_object_can_be_read_is_recorded_and_tried_again() -> None:
    """With the reason, on the schedule, and ever more rarely."""
    installation = Reconciled()
    installation.put(A.key, picture(1))
    await converge_objects([ObjectHint(A)], for_objects(installation.ports))
    installation.objects.denied.add(A)
    await installation.work()
    assert published(installation, A) == ("rejected", "unreadable: AccessDenied")
    [content] = installation.catalog.content_rows.values()
    assert content.dirty_since is None
    for _ in range(2):
        await installation.clock.sleep(2 * installation.settings.sweep.unreadable_first_wait_s)
        assert await sweep(for_sweep(installation.ports)) == 1
        await installation.work()
    [again] = installation.catalog.content_rows.values()
    assert again.indexed_at == content.indexed_at
    installation.objects.denied.clear()
    await installation.reconcile()
    await installation.work()
    assert published(installation, A) == ("indexed", None)
    assert installation.agrees()


class Restless:
    """Somebody who overwrites an object whenever it is looked at."""

    def __init__(self, installation: Reconciled) -> None:
        self._objects = installation.objects
        self._head = installation.objects.head
        self.looks = 0

    async def head(self, ref: ObjectRef) -> ObjectState | None:
        """See ObjectReader."""
        self.looks += 1
        self._objects.put_now(ref, picture(self.looks))
        return await self._head(ref)


async def test_an_object_that_is_never_the_same_twice_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few rounds, rather than looked at for ever; when it comes to rest it is indexed."""
    installation = Reconciled()
    installation.put(A.key, picture(0))
    restless = Restless(installation)
    with monkeypatch.context() as overwriting:
        overwriting.setattr(installation.objects, "head", restless.head)
        outcomes = await converge_objects([ObjectHint(A)], for_objects(installation.ports))
    assert outcomes == {A: ObjectOutcome.REJECTED}
    assert restless.looks == ROUNDS
    assert image(installation, A).reason == Reason("unreadable", "ChangesTooFast")
    await announced(installation, A)
    assert published(installation, A) == ("indexed", None)


async def test_an_object_that_a_head_never_finds_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GET answers and a HEAD does not: the two never agree."""
    installation = Reconciled()
    installation.put(A.key, picture(0))

    async def head(_ref: ObjectRef) -> ObjectState | None:
        raise ObjectStoreOutage("the HEAD failed", code="Http500")

    with monkeypatch.context() as failing:
        failing.setattr(installation.objects, "head", head)
        assert await converge_objects([ObjectHint(A)], for_objects(installation.ports)) == {A: ObjectOutcome.REJECTED}


class Late:
    """Calls to an object store that get no answer within the time limit, and how many they were."""

    def __init__(self) -> None:
        self.made = 0

    async def __call__(self, ref: ObjectRef, *_: object, **__: object) -> ObjectState | None:
        """See ObjectReader: the head, or the read, of an object that hangs."""
        self.made += 1
        raise ObjectStoreOutage(f"{ref}: no answer", code=TIMEOUT)


@pytest.mark.parametrize("call", ["read", "head"])
async def test_an_object_that_gives_no_answer_is_waited_for_once_and_tried_again_soon(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its bytes don't come or, when its row is locked, its HEAD gets no answer: others wait with it."""
    installation = Reconciled()
    installation.put(A.key, picture(0))
    late = Late()
    with monkeypatch.context() as hanging:
        hanging.setattr(installation.objects, call, late)
        assert await converge_objects([ObjectHint(A)], for_objects(installation.ports)) == {A: ObjectOutcome.REJECTED}
    assert late.made == 1
    assert image(installation, A).reason == Reason("unreadable", "Timeout")
    await installation.clock.sleep(LATE_RETRY_S)
    assert await sweep(for_sweep(installation.ports)) == 1
    await installation.work()
    assert published(installation, A) == ("indexed", None)


async def test_a_content_whose_bytes_do_not_come_is_waited_for_once_and_tried_again_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The object began to hang after it was recorded; the contents of its batch wait with it."""
    installation = Reconciled()
    installation.put(A.key, picture(0))
    await converge_objects([ObjectHint(A)], for_objects(installation.ports))
    late = Late()
    with monkeypatch.context() as hanging:
        hanging.setattr(installation.objects, "read", late)
        await installation.work()
    assert late.made == 1
    assert published(installation, A) == ("rejected", "unreadable: Timeout")
    await installation.clock.sleep(LATE_RETRY_S)
    assert await sweep(for_sweep(installation.ports)) == 1
    await installation.work()
    assert published(installation, A) == ("indexed", None)


async def test_hints_about_a_bucket_that_is_away_leave_a_comparison_to_be_made() -> None:
    """They hold nobody up and are not lost: once the bucket is back it is compared, whatever the settings say."""
    installation = await denied()
    schedule = Schedule(for_reconcile(installation.ports), installation.retry, installation.settings, lambda: True)
    await schedule.watch()
    await installation.clock.sleep(SETTLE.total_seconds())
    await schedule.work()
    await installation.work()
    installation.put(B.key, picture(7))
    installation.objects.missing.add(BUCKET)
    outcomes = await converge_objects([ObjectHint(B)], for_objects(installation.ports))
    assert outcomes == {B: ObjectOutcome.BUCKET_AWAY}
    installation.objects.missing.clear()
    await installation.clock.sleep(SETTLE.total_seconds())
    await schedule.work()
    await installation.work()
    assert installation.objects.present(BUCKET)[B.key] == picture(7)
    stale = await installation.reconcile(dry_run=True)
    assert stale.drift["stale"] == 0  # type: ignore[index]


async def test_a_comparison_passes_by_a_bucket_that_is_away() -> None:
    """The comparison of everything ends, and leaves one of that bucket to be made."""
    installation = Reconciled()
    schedule = Schedule(for_reconcile(installation.ports), installation.retry, installation.settings, lambda: True)
    installation.put(A.key, picture(1))
    await schedule.watch()
    await installation.clock.sleep(SETTLE.total_seconds())
    installation.objects.missing.add(BUCKET)
    await schedule.work()
    installation.objects.missing.clear()
    installation.retry.outages.over(f"bucket:{BUCKET}")
    await installation.clock.sleep(SETTLE.total_seconds() + timedelta(seconds=1).total_seconds())
    await schedule.work()
    await installation.work()
    assert published(installation, A) == ("indexed", None)
