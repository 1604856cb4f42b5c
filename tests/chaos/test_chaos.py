"""A short chaos run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.operations import VICTIMS, FaultKind, Harm, Plan, plan
from tests.chaos.run import ChaosRun


def test_a_seed_replays_a_run() -> None:
    """The same seed gives the same operations and faults, another seed others; each fault has its turn."""

    def made_with(seed: int) -> Plan:
        return plan(seed, operations=500, keys=50, faults=40, unannounced=20, kinds=FaultKind)

    made = made_with(7)
    assert made == made_with(7)
    assert made.operations != made_with(8).operations
    assert {*made.harms} == {Harm(kind, victim) for kind, victims in VICTIMS.items() for victim in victims}


@pytest.mark.timeout(900)
def test_nothing_differs_after_a_short_chaos_run(tmp_path: Path) -> None:
    """Nothing differs after changes under random kills and hangs and quiet, nor after lost events and one reconcile."""
    kinds = (FaultKind.KILL, FaultKind.HANG)
    made = plan(20_261_123, operations=300, keys=60, faults=8, unannounced=30, kinds=kinds, longest_s=6)
    outcome = ChaosRun(made, tmp_path, print, database="mysql").run()
    assert outcome.differences == 0, json.dumps(outcome.as_json(), indent=1)
    assert outcome.after_lost.total > 0
