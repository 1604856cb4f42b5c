"""The patrol over the in-memory ports."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.errors import ConfigurationError, ObjectStoreOutage
from schemas.patrol import last_round_name
from schemas.records import ObjectRef
from schemas.settings import ObjectSettings, PatrolSettings
from streams.assembly import for_reconcile
from streams.common.hints import object_hint
from streams.repair.patrol import BACKLOG, LONGEST_WAIT_S, PAUSE_S, Patrol, Surroundings
from streams.repair.reconcile import Scope
from tests.harness.installation import BUCKET
from tests.harness.pictures import picture
from tests.unit.reconcile.installation import Reconciled


class Around:
    """The worker around a patrol; ``rule`` is an error to raise, or whether the rule has to be put back."""

    def __init__(self) -> None:
        self.leads = True
        self.backlog = 0
        self.rule: bool | Exception = False
        self.looks_at_rule = 0

    async def ensure_announced(self, _bucket: str) -> bool:
        """One look at the rule."""
        self.looks_at_rule += 1
        if isinstance(self.rule, Exception):
            raise self.rule
        put_back, self.rule = self.rule, False
        return put_back

    def patrol(self, installation: Reconciled) -> Patrol:
        """A patrol in this worker."""
        around = Surroundings(lambda: self.leads, lambda: self.backlog, self.ensure_announced)
        return Patrol(
            BUCKET,
            for_reconcile(installation.ports),
            installation.retry,
            installation.settings,
            around,
            sleep=installation.clock.sleep,
        )


async def filled(count: int) -> tuple[Reconciled, Around]:
    """An installation that agrees with its bucket."""
    installation = Reconciled()
    for number in range(count):
        installation.put(f"{number:04}.png", picture(number % 7))
    await installation.reconcile()
    await installation.work()
    assert installation.agrees()
    return installation, Around()


def last_rule(installation: Reconciled) -> str:
    """What the last round found of the rule."""
    rule: str = installation.catalog.positions[last_round_name(BUCKET)]["rule"]
    return rule


async def test_a_round_finds_what_nobody_announced() -> None:
    """New, overwritten and deleted objects are hinted at, and the handlers make the catalog agree."""
    installation, around = await filled(5)
    installation.put("new.png", picture(100))
    installation.put("0001.png", picture(101))
    installation.delete("0002.png")
    sent = len(installation.outbox.sent)
    await around.patrol(installation).round()
    hints = installation.outbox.sent[sent:]
    assert {hint.key for hint in hints} == {b"pictures/new.png", b"pictures/0001.png", b"pictures/0002.png"}
    assert all(b"twinlens:Patrol" in (hint.value or b"") for hint in hints)
    await installation.work()
    assert installation.agrees()


async def test_a_round_keeps_to_its_rate() -> None:
    """5,000 objects at 500 a second take ten seconds: 10,000 take twenty, and a million 34 minutes."""
    installation = Reconciled()
    for number in range(5000):
        installation.put(f"{number:04}.png", b"x")
    began = installation.clock.moment
    await around_of(installation).round()
    assert installation.clock.moment - began == pytest.approx(timedelta(seconds=10), abs=timedelta(seconds=0.1))


def around_of(installation: Reconciled) -> Patrol:
    """A patrol in a worker with nothing else to do."""
    return Around().patrol(installation)


async def test_a_worker_that_does_not_lead_leaves_it_to_the_other() -> None:
    """Of several workers one compares."""
    installation, around = await filled(1)
    around.leads = False
    installation.put("new.png", picture(100))
    sent = len(installation.outbox.sent)
    await around.patrol(installation).round()
    assert len(installation.outbox.sent) == sent
    assert around.looks_at_rule == 0


async def test_a_round_is_gone_on_with_by_another_worker() -> None:
    """What was compared before a restart is not compared again: progress is in the catalog."""
    installation = Reconciled()
    for number in range(2500):
        installation.put(f"{number:04}.png", b"x")
    first = Around()
    looks = iter([True, True, False])
    first_patrol = Patrol(
        BUCKET,
        for_reconcile(installation.ports),
        installation.retry,
        installation.settings,
        Surroundings(lambda: next(looks, False), lambda: 0, first.ensure_announced),
        sleep=installation.clock.sleep,
    )
    await first_patrol.round()
    before = len(installation.outbox.sent)
    assert 0 < before < 2500
    await around_of(installation).round()
    assert len({message.key for message in installation.outbox.sent}) == len(installation.outbox.sent) == 2500


async def test_does_not_go_on_with_a_reconcile_nor_the_other_way_round() -> None:
    """Each remembers its own progress: a reconcile that was broken off loses nothing to a round."""
    installation, around = await filled(9)
    run = installation.reconciliation().run(Scope(BUCKET))
    await anext(run)
    saved = dict(installation.catalog.positions)
    await around.patrol(installation).round()
    assert saved.items() <= installation.catalog.positions.items()
    assert (await installation.reconcile()).resumed


async def test_waits_while_many_events_wait_but_not_for_ever() -> None:
    """A hint would wait behind the backlog, and repeat what is in it."""
    installation, around = await filled(1)
    around.backlog = BACKLOG + 1
    began = installation.clock.moment
    await around.patrol(installation).round()
    waited = installation.clock.moment - began
    assert timedelta(seconds=LONGEST_WAIT_S) <= waited < timedelta(seconds=3 * LONGEST_WAIT_S + 5)
    around.backlog = BACKLOG
    began = installation.clock.moment
    await around.patrol(installation).round()
    assert installation.clock.moment - began < timedelta(seconds=1)


async def test_what_a_look_does_not_mend_is_not_looked_at_in_every_round() -> None:
    """A hint that leads to nothing is sent again after a minute, then ever more rarely; another change at once."""
    installation, around = await filled(3)
    installation.put("new.png", picture(100))
    installation.delete("0001.png")
    patrol = around.patrol(installation)

    async def hints_of_a_round() -> int:
        before = len(installation.outbox.sent)
        await patrol.round()
        return len(installation.outbox.sent) - before

    assert [await hints_of_a_round() for _ in range(3)] == [2, 0, 0]
    installation.put("new.png", picture(101))
    assert await hints_of_a_round() == 1
    for waited in (60, 240, 960, 3600, 3600):
        await installation.clock.sleep(waited - 10)
        assert await hints_of_a_round() == 0
        await installation.clock.sleep(10)
        assert await hints_of_a_round() == 2
    installation.clock.moment -= timedelta(hours=1)
    assert await hints_of_a_round() == 2


async def test_never_empties_the_catalog() -> None:
    """A bucket that seems to have lost much of its objects loses no row: somebody has to say that it is right."""
    installation, around = await filled(60)
    for number in range(20):
        installation.delete(f"{number:04}.png")
    sent = len(installation.outbox.sent)
    patrol = around.patrol(installation)
    for _ in range(3):
        await patrol.round()
    assert len(installation.outbox.sent) == sent
    assert "20 of 60" in installation.catalog.positions[last_round_name(BUCKET)]["refused"][0]


async def test_a_change_of_what_is_left_out_takes_effect() -> None:
    """Rows of what is left out go, however many they are, and come back once it no longer is."""
    installation, around = await filled(60)
    installation.exclude("00[0-2]*.png")
    await around.patrol(installation).round()
    await installation.work()
    known = {image.key for image in installation.catalog.image_rows.values() if image.exists}
    assert known == {f"{number:04}.png" for number in range(30, 60)}
    installation.exclude()
    await around.patrol(installation).round()
    await installation.work()
    assert installation.agrees()


async def test_a_row_of_a_folder_goes_and_does_not_come_back() -> None:
    """A folder that was recorded as an empty picture is forgotten; one that was not is let be."""
    installation, around = await filled(1)
    installation.put("trip/", b"")
    installation.ports = replace(installation.ports, objects=installation.objects)
    await installation.ports.outbox.send(
        [object_hint(ObjectRef(BUCKET, "trip/"), "Requested", installation.topics, installation.clock)]
    )
    await installation.work()
    assert [str(image.reason) for image in installation.catalog.image_rows.values() if image.reason] == ["empty"]
    installation.exclude()
    await around.patrol(installation).round()
    await installation.work()
    assert {image.key for image in installation.catalog.image_rows.values() if image.exists} == {"0000.png"}
    sent = len(installation.outbox.sent)
    await around.patrol(installation).round()
    assert len(installation.outbox.sent) == sent


async def test_an_announced_object_that_is_left_out_is_not_recorded() -> None:
    """Neither a folder nor what a glob matches becomes a row, whoever announces it."""
    installation, _ = await filled(1)
    installation.exclude("**/._*")
    for key in ("trip/", "trip/._a.png"):
        installation.put(key, b"")
        await installation.ports.outbox.send(
            [object_hint(ObjectRef(BUCKET, key), "Requested", installation.topics, installation.clock)]
        )
    await installation.work()
    assert {image.key for image in installation.catalog.image_rows.values() if image.exists} == {"0000.png"}


async def test_the_rule_is_looked_at_in_every_round_and_what_was_found_is_remembered() -> None:
    """Kept, put back, or why not: in the catalog, where the query service reads it."""
    installation, around = await filled(1)
    patrol = around.patrol(installation)
    found = []
    for rule in (False, True, ConfigurationError("no such target"), ObjectStoreOutage("AccessDenied")):
        around.rule = rule
        await patrol.round()
        found.append(last_rule(installation))
    assert found == ["kept", "put_back", "failed", "failed"]
    assert around.looks_at_rule == 4


async def test_without_notifications_no_rule_is_looked_at() -> None:
    """With ``objects.notifications: none`` the patrol is all that there is."""
    installation, around = await filled(1)
    without = installation.settings.objects.model_copy(update={"notifications": "none"})
    installation.settings = installation.settings.model_copy(update={"objects": without})
    await around.patrol(installation).round()
    assert around.looks_at_rule == 0
    assert last_rule(installation) == "none"


async def test_an_outage_breaks_a_round_off_and_the_next_one_comes_after_a_pause() -> None:
    """A bucket that is gone for longer than the retry budget ends neither the loop nor the worker."""
    installation, around = await filled(3)
    installation.settings = installation.settings.model_copy(
        update={"patrol": PatrolSettings(rate=1000), "objects": ObjectSettings(notifications="none")}
    )
    installation.objects.missing.add(BUCKET)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        installation.objects.missing.clear()
        if slept.count(PAUSE_S) == 2:
            raise asyncio.CancelledError

    patrol = Patrol(
        BUCKET,
        for_reconcile(installation.ports),
        installation.impatience(),
        installation.settings,
        Surroundings(lambda: True, lambda: 0, around.ensure_announced),
        sleep=sleep,
    )
    with pytest.raises(asyncio.CancelledError):
        await patrol.work_for_ever()
    assert last_round_name(BUCKET) in installation.catalog.positions
