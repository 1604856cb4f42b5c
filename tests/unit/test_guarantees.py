"""What docs name is there: tests and files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["guarantees", "security"])
def test_every_test_that_is_named_is_there(page: str) -> None:
    """A claim does not rest on a test that was renamed or removed."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 30
    for path, test in named:
        source = (ROOT / path).read_text()
        assert not test or re.search(rf"def {test}\(", source), f"{path} has no {test}"


@pytest.mark.parametrize("page", ["architecture", "contributing"])
def test_every_file_that_is_named_is_there(page: str) -> None:
    """A newcomer who follows the guide finds what it names."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    named = re.findall(r"`((?:schemas|imaging|stores|streams|query_api|ops|tests|docs)/[\w./]*)", text)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []
