"""Waiting out outages."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from schemas.errors import BucketOutage, CatalogContention, CatalogOutage, ObjectStoreOutage, Outage, VectorIndexOutage
from schemas.settings import RetrySettings
from streams.common import backoff
from streams.common.backoff import OutageRetry, Outages
from streams.common.metrics import BUCKET_UP, DEPENDENCY_UP

AT_ONCE = RetrySettings(budget_s=60, wait_initial_s=0, wait_max_s=0, wait_jitter_s=0)


class Failing:
    """A step that raises each of its errors, one per call, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        """The step."""
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_an_outage_is_waited_out() -> None:
    """The step is run again until it succeeds."""
    step = Failing(CatalogOutage("a"), ObjectStoreOutage("b"), CatalogOutage("c"))
    assert await OutageRetry(AT_ONCE, Outages()).run(step) == "done"
    assert step.calls == 4


async def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends() -> None:
    """Not once per attempt; and the gauge follows."""
    waiting = OutageRetry(AT_ONCE, Outages())
    with capture_logs() as logs:
        await waiting.run(Failing(*[CatalogOutage("away")] * 500))
    assert [(entry["event"], entry["dependency"]) for entry in logs if entry["event"].startswith("dependency")] == [
        ("dependency_down", "catalog"),
        ("dependency_back", "catalog"),
    ]
    assert DEPENDENCY_UP.labels("catalog")._value.get() == 1
    assert waiting.outages.ended["catalog"] == 1


async def test_every_outage_is_logged_anew() -> None:
    """The second outage of the same dependency is news again."""
    waiting = OutageRetry(AT_ONCE, Outages())
    with capture_logs() as logs:
        for _ in range(2):
            await waiting.run(Failing(VectorIndexOutage("away"), VectorIndexOutage("away")))
    assert len([entry for entry in logs if entry["event"] == "dependency_down"]) == 2


async def test_a_deadlock_is_tried_again_and_is_no_outage() -> None:
    """A transaction that lost to another one is run again without a word: nothing is down."""
    outages = Outages()
    with capture_logs() as logs:
        assert await OutageRetry(AT_ONCE, outages).run(Failing(*[CatalogContention("deadlock")] * 3)) == "done"
    assert [entry for entry in logs if entry["event"].startswith("dependency")] == []
    assert not outages.ended
    assert not outages.down_since


async def test_an_outage_that_outlasts_the_budget_is_raised() -> None:
    """The last error leaves, and the dependency counts as down."""
    waiting = OutageRetry(
        RetrySettings(budget_s=0.05, wait_initial_s=0.01, wait_max_s=0.01, wait_jitter_s=0), Outages()
    )
    step = Failing(*[ObjectStoreOutage("away")] * 1000)
    with pytest.raises(Outage, match="away"):
        await waiting.run(step)
    assert step.calls > 1
    assert "objects" in waiting.outages.down_since


async def test_a_bug_is_not_waited_for() -> None:
    """Anything but an outage leaves at once."""
    step = Failing(KeyError("bug"))
    with pytest.raises(KeyError):
        await OutageRetry(AT_ONCE, Outages()).run(step)
    assert step.calls == 1


async def test_what_the_check_does_not_confirm_is_no_outage() -> None:
    """An attempt may have met a fact about one object, or have begun before an outage was over."""

    async def answers() -> None:
        pass

    outages = Outages(checks={"objects": answers})
    with capture_logs() as logs:
        assert await OutageRetry(AT_ONCE, outages).run(Failing(ObjectStoreOutage("one object"))) == "done"
    assert [entry for entry in logs if entry["event"].startswith("dependency")] == []
    assert not outages.ended


async def test_an_outage_ends_when_the_check_says_so() -> None:
    """A step that succeeded may not have needed the dependency this time."""

    async def away() -> None:
        raise CatalogOutage("away")

    outages = Outages(checks={"catalog": away})
    await OutageRetry(AT_ONCE, outages).run(Failing(CatalogOutage("away")))
    assert "catalog" in outages.down_since


async def test_a_check_that_is_never_answered_confirms_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and never answers is away."""
    monkeypatch.setattr(backoff, "CHECK_TIMEOUT_S", 0.01)

    async def hangs() -> None:
        await asyncio.Event().wait()

    outages = Outages(checks={"objects": hangs})
    await outages.failed(ObjectStoreOutage("no answer"))
    assert "objects" in outages.down_since


async def test_a_bucket_is_waited_for_or_not() -> None:
    """Where other buckets could go on, its outage is raised at once; it is named by itself."""
    gone = BucketOutage("gone", bucket="b")
    outages = Outages()
    assert await OutageRetry(AT_ONCE, outages).run(Failing(gone, gone)) == "done"
    with pytest.raises(BucketOutage):
        await OutageRetry(AT_ONCE, outages, waits_for_buckets=False).run(Failing(gone))
    assert set(outages.down_since) == {"bucket:b"}
    assert BUCKET_UP.labels("b")._value.get() == 0
