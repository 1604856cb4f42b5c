"""The real handlers under random interleavings and faults; and the same with bugs planted, which must be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas import lifecycle
from schemas.records import ContentRecord
from streams import publish
from streams.index import converge_contents
from tests.simulation.bugs import BUGS
from tests.simulation.planting import planted
from tests.simulation.run import simulate

RUNS = 4000
PARTS = 4
SEEDS_PER_BUG = 5000
BROKEN = ("bug: AttributeError", "bug: NameError", "bug: TypeError")
"""What a planted function that is itself broken would meet: then the run has found that, and not the bug."""


@pytest.mark.parametrize("part", range(PARTS))
def test_runs_agree(part: int) -> None:
    """Bucket, catalog, vectors and change stream agree once the faults are over, whatever the interleaving."""
    for seed in range(part * RUNS // PARTS, (part + 1) * RUNS // PARTS):
        assert simulate(seed) is None, f"seed {seed}"


def test_a_seed_repeats_its_run() -> None:
    """A seed that found something finds it again."""
    bug = BUGS["version_sent_twice"]
    with bug.planted():
        seen = [[simulate(seed, bug.focus) for seed in range(20)] for _ in range(2)]
    assert seen[0] == seen[1]
    assert any(seen[0])


@pytest.mark.parametrize("name", sorted(BUGS))
def test_planted_bug_is_found(name: str) -> None:
    """Each planted bug makes a run disagree, while the same run with the handlers as they are agrees."""
    bug = BUGS[name]
    for seed in (bug.seed, *range(SEEDS_PER_BUG)):
        with bug.planted():
            found = simulate(seed, bug.focus)
        if found is not None:
            assert not found.startswith(BROKEN), found
            assert simulate(seed, bug.focus) is None
            return
    pytest.fail(f"{bug.wrong}: not found in {SEEDS_PER_BUG} runs")


def test_every_planted_bug_is_listed() -> None:
    """The table in docs/guarantees.md is that of the simulation."""
    guarantees = (Path(__file__).parents[2] / "docs" / "guarantees.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", guarantees, re.MULTILINE))
    assert listed == {name: bug.wrong for name, bug in BUGS.items()}


def test_a_replacement_is_called_wherever_a_module_holds_the_function() -> None:
    """Also where it was imported by name; and afterwards the function is itself again."""
    original = publish.lock_images
    with planted({original: BUGS["published_unlocked"].replacements[original]}):
        assert publish.lock_images is not original
        assert vars(converge_contents)["lock_images"] is publish.lock_images
    assert publish.lock_images is original
    assert vars(converge_contents)["lock_images"] is original


def test_a_bug_that_fits_nowhere_is_refused() -> None:
    """A planted bug whose function the handlers no longer have is an error, not a run without a bug."""

    def stranger(content: ContentRecord, read: ContentRecord) -> bool:
        return content is read

    with pytest.raises(LookupError, match="has no stranger"), planted({stranger: lifecycle.is_deletable}):
        pass


def test_a_bug_with_other_parameters_is_refused() -> None:
    """What could only fail when it is called would be found, but not for what is wrong with it."""
    with pytest.raises(TypeError, match="has other parameters"), planted({lifecycle.retire: lifecycle.restart}):
        pass
