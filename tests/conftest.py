"""What all tests share: the fixtures of the real servers, which start when a test first asks for one."""

from pathlib import Path

import pytest

pytest_plugins = ["tests.stack.fixtures", "tests.contracts.catalogs"]

TESTS = Path(__file__).parent

LONGEST_FIRST = ("integration/test_worker_faults", "chaos", "e2e", "integration", "browser", "interleavings")
"""What takes minutes must not be what is begun last; the rest follows in its own order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what xdist keeps in one process (``--dist loadgroup``), and what it hands out first.

    Kept together is a file that uses servers, unless its tests say themselves what goes together, and all of the
    browser.
    """
    for item in items:
        folder, *_ = item.path.relative_to(TESTS).parts
        if item.get_closest_marker("xdist_group"):
            continue
        if folder == "browser":
            item.add_marker(pytest.mark.xdist_group(folder))
        elif folder not in {"unit", "simulation"}:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    path = item.path.relative_to(TESTS).as_posix()
    return next((turn for turn, start in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))
