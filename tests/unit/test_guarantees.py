"""docs/guarantees.md names tests and planted bugs that are there, and all of the bugs."""

from __future__ import annotations

import re
from pathlib import Path

from tests.simulation.bugs import BUGS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "guarantees.md").read_text()


def test_every_test_that_is_named_is_there() -> None:
    """A guarantee does not rest on a test that was renamed or removed."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)
    assert len(named) > 30
    for path, test in named:
        source = (ROOT / path).read_text()
        assert not test or re.search(rf"def {test}\(", source), f"{path} has no {test}"


def test_every_planted_bug_is_listed() -> None:
    """The table is that of the simulation."""
    listed = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", TEXT, re.MULTILINE))
    assert listed == {name: bug.wrong for name, bug in BUGS.items()}
