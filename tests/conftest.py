"""What all tests share: the fixtures of the real servers, which start when a test first asks for one."""

from pathlib import Path

import pytest

pytest_plugins = ["tests.stack.fixtures", "tests.contracts.catalogs"]

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what xdist keeps in one process (``--dist loadgroup``): a file that uses servers, and all of the browser."""
    for item in items:
        folder, *_ = item.path.relative_to(TESTS).parts
        if folder == "browser":
            item.add_marker(pytest.mark.xdist_group(folder))
        elif folder != "unit":
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
