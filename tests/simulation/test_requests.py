"""Requests under every interleaving that chance finds: nothing old over anything new, one true outcome per id."""

from __future__ import annotations

import pytest

from tests.simulation.requests import planted, simulate

RUNS = 1000
RUNS_TO_FIND_A_BUG = 3000

BUGS = {
    "no condition on the PUT": ("if_match=present.etag if present else None,", "if_match=None,"),
    "no condition on a new object": ("if_absent=present is None,", "if_absent=False,"),
    "nothing is remembered": (
        "if _remembered(present) != row.expected:\n        return",
        "if not row:\n        return",
    ),
    "a look that may be older is believed": (
        "present = await _seen(ref, ports.objects)\n    return",
        "pass\n    return",
    ),
    "an own picture is not recognised": ("if present is not None and present", "if not row and present"),
    "a refusal wins over a request in work": (
        "row = await ports.ledger.take_up(with_outcome(fresh",
        "row = await ports.ledger.conclude(with_outcome(fresh",
    ),
    "the sender's outcome is sent instead of the row's": (
        "row = await ports.ledger.conclude(with_outcome(row, outcome, reason, ports))",
        "await ports.ledger.conclude(row := with_outcome(row, outcome, reason, ports))",
    ),
    "a lost PUT is a bug of ours": ("with suppress(PreconditionFailed):", "with suppress(()):"),
    "the object of an id is not compared": ("if row.outcome is None and row.ref != ref:", "if not row:"),
}


@pytest.mark.slow
def test_nothing_old_covers_anything_new_and_every_id_has_one_true_outcome() -> None:
    """With crashes at any await, zombies, replays, duplicates, lost answers, late PUTs and other writers."""
    for seed in range(RUNS):
        assert simulate(seed) is None, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_found(bug: str) -> None:
    """A test that finds nothing proves nothing: each of these is found."""
    handler = planted(*BUGS[bug])
    assert any(simulate(seed, handler) for seed in range(RUNS_TO_FIND_A_BUG))
