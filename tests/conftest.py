"""What all tests share: the fixtures of the real servers, which start when a test first asks for one."""

import gc
from collections.abc import Generator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["tests.harness.stack.fixtures", "tests.harness.catalogs"]

TESTS = Path(__file__).parent

ON_PRIVATE_SERVERS = ("worker_faults", "requests_apart", "scopes", "stack")
"""One after the other, so that each process's private servers needn't run for longer than their tests take."""
LONGEST_FIRST = (
    "browser",
    *(f"integration/test_{name}" for name in ON_PRIVATE_SERVERS),
    *("chaos", "e2e", "contracts/test_vector_views", "integration", "contracts/test_vectors", "interleavings"),
)
"""What takes minutes must not be what is begun last; the rest follows in its own order. Browsers compute, private
servers are waited for: side by side they take the cores well.
"""

EACH_TEST_APART = (
    "integration/test_worker_faults",
    "integration/test_requests_apart",
    "integration/test_scopes",
    "integration/test_model_switch",
)
"""Files of long tests that share nothing but the servers of a process: only the variants of one test stay together."""
_ON_LIVE = ("duplicates_command", "examples", "import_predecessor", "pipeline", "producers")
TOGETHER = {f"e2e/test_{name}": "e2e" for name in _ON_LIVE}
"""Files that share an installation, which each process would start anew, and the name of their group."""

MADE_ONCE = ("unit/bench/test_accuracy", "unit/query_api/test_process", "unit/test_gallery")
"""Files of unit tests that share what takes seconds to make; all other unit tests are handed out one by one."""


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
        if shared := TOGETHER.get(path.removesuffix(".py")):
            return shared
        if folder in {"unit", "simulation"} and not path.startswith(MADE_ONCE):
            return nodeid
        return f"{file}::{test.partition('[')[0]}" if path.startswith(EACH_TEST_APART) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Keep together what shares servers (pytest-xdist)."""
    return Groups(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from what collecting imports, now and ever after: all of it stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what is handed out first."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    path = item.path.relative_to(TESTS).as_posix()
    return next((turn for turn, start in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))
