"""What all tests share: the fixtures of the real servers, which start when a test first asks for one."""

from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["tests.stack.fixtures", "tests.contracts.catalogs"]

TESTS = Path(__file__).parent

LONGEST_FIRST = ("integration/test_worker_faults", "chaos", "e2e", "integration", "browser", "interleavings")
"""What takes minutes must not be what is begun last; the rest follows in its own order."""


EACH_TEST_APART = ("integration/test_worker_faults",)
"""Files whose tests have servers of their own, and take minutes: only the variants of one test stay together."""


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed
    """What xdist keeps in one process, and in order: tests that share servers.

    By a scheduler of our own: since pytest 9.2, xdist 3.8 doesn't see the groups that tests are marked with.
    """

    def _split_scope(self, nodeid: str) -> str:
        """The group of a test: its file, unless its folder says otherwise."""
        file, _, test = nodeid.partition("::")
        path = file.removeprefix(f"{TESTS.name}/")
        folder = path.partition("/")[0]
        if folder == "browser":
            return folder
        if folder in {"unit", "simulation"}:
            return nodeid
        return f"{file}::{test.partition('[')[0]}" if path.startswith(EACH_TEST_APART) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Keep together what shares servers (pytest-xdist)."""
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what is handed out first."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    path = item.path.relative_to(TESTS).as_posix()
    return next((turn for turn, start in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))
