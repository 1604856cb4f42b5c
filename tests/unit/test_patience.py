"""Waiting out outages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from schemas.errors import CatalogContention, CatalogOutage, ObjectStoreOutage
from schemas.settings import RetrySettings
from streams.patience import Outages, Patience

AT_ONCE = RetrySettings(budget_s=30, wait_initial_s=0, wait_max_s=0, wait_jitter_s=0)


class Failing:
    """A step that fails so many times, then succeeds."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error = error
        self.left = times
        self.calls = 0

    async def __call__(self) -> str:
        """One try."""
        self.calls += 1
        if self.left > 0:
            self.left -= 1
            raise self.error
        return "done"


async def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends() -> None:
    """However often a step is tried, the log has two lines, and the outage is counted once."""
    outages = Outages()
    step = Failing(ObjectStoreOutage("away"), 50)
    with capture_logs() as logs:
        assert await Patience(AT_ONCE, outages).run(step) == "done"
    assert _ours(logs) == ["dependency_down", "dependency_back"]
    assert outages.ended == {"objects": 1}
    assert step.calls == 51


async def test_a_deadlock_is_tried_again_and_is_no_outage() -> None:
    """A transaction that lost to another one is run again without a word: nothing is down."""
    outages = Outages()
    with capture_logs() as logs:
        assert await Patience(AT_ONCE, outages).run(Failing(CatalogContention("deadlock"), 3)) == "done"
    assert _ours(logs) == []
    assert outages.ended == {}
    assert outages.down_since == {}


async def test_an_outage_beyond_the_budget_is_raised() -> None:
    """When the budget is used up, the last outage goes to the caller."""
    spent = RetrySettings(budget_s=0.05, wait_initial_s=0, wait_max_s=0, wait_jitter_s=0)
    with pytest.raises(CatalogOutage):
        await Patience(spent, Outages()).run(Failing(CatalogOutage("away"), 10**9))


async def test_a_bug_is_raised_at_once() -> None:
    """What is no outage is not tried again."""
    step = Failing(TypeError("a bug"), 2)
    with pytest.raises(TypeError):
        await Patience(AT_ONCE, Outages()).run(step)
    assert step.calls == 1


def _ours(logs: Sequence[Mapping[str, object]]) -> list[str]:
    """The events without stamina's own line per try, which the workers' logging turns off."""
    return [str(line["event"]) for line in logs if not str(line["event"]).startswith("stamina")]
