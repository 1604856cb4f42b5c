"""Waiting out outages."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from schemas.errors import CatalogOutage, ObjectStoreOutage, Outage, VectorIndexOutage
from schemas.settings import RetrySettings
from streams.metrics import DEPENDENCY_UP
from streams.patience import Outages, Patience

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
    assert await Patience(AT_ONCE, Outages()).run(step) == "done"
    assert step.calls == 4


async def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends() -> None:
    """Not once per attempt; and the gauge follows."""
    patience = Patience(AT_ONCE, Outages())
    with capture_logs() as logs:
        await patience.run(Failing(*[CatalogOutage("away")] * 500))
    assert [(entry["event"], entry["dependency"]) for entry in logs if entry["event"].startswith("dependency")] == [
        ("dependency_down", "catalog"),
        ("dependency_back", "catalog"),
    ]
    assert DEPENDENCY_UP.labels("catalog")._value.get() == 1
    assert patience.outages.ended["catalog"] == 1


async def test_every_outage_is_logged_anew() -> None:
    """The second outage of the same dependency is news again."""
    patience = Patience(AT_ONCE, Outages())
    with capture_logs() as logs:
        for _ in range(2):
            await patience.run(Failing(VectorIndexOutage("away"), VectorIndexOutage("away")))
    assert len([entry for entry in logs if entry["event"] == "dependency_down"]) == 2


async def test_an_outage_that_outlasts_the_budget_is_raised() -> None:
    """The last error leaves, and the dependency counts as down."""
    patience = Patience(RetrySettings(budget_s=0.05, wait_initial_s=0.01, wait_max_s=0.01, wait_jitter_s=0), Outages())
    step = Failing(*[ObjectStoreOutage("away")] * 1000)
    with pytest.raises(Outage, match="away"):
        await patience.run(step)
    assert step.calls > 1
    assert "objects" in patience.outages.down_since


async def test_a_bug_is_not_waited_for() -> None:
    """Anything but an outage leaves at once."""
    step = Failing(KeyError("bug"))
    with pytest.raises(KeyError):
        await Patience(AT_ONCE, Outages()).run(step)
    assert step.calls == 1
