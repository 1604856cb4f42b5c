"""A short chaos run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.operations import COMPONENTS, plan
from tests.chaos.run import ChaosRun


def test_a_seed_replays_a_run() -> None:
    """The same seed gives the same operations and kills, another seed others."""
    sizes = {"operations": 500, "keys": 50, "kills": 16, "unannounced": 20}
    assert plan(7, **sizes) == plan(7, **sizes)
    assert plan(7, **sizes).operations != plan(8, **sizes).operations
    assert set(plan(7, **sizes).kills_by_component) == set(COMPONENTS)


@pytest.mark.timeout(900)
def test_nothing_differs_after_a_short_chaos_run(tmp_path: Path) -> None:
    """Nothing differs after changes under random kills and quiet, nor after lost events and one reconcile."""
    made = plan(20_261_123, operations=300, keys=60, kills=8, unannounced=30)
    outcome = ChaosRun(made, tmp_path, print, database="mysql").run()
    assert outcome.differences == 0, json.dumps(outcome.as_json(), indent=1)
    assert outcome.after_lost.total > 0
