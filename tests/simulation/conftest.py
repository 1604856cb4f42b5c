"""The simulation is not traced: that makes its runs several times slower, and other tests cover the same lines."""

from __future__ import annotations

from collections.abc import Iterator

import coverage
import pytest


@pytest.fixture(autouse=True)
def untraced() -> Iterator[None]:
    """Pause coverage. Its own mark, `no_cover`, pauses one of two measurements that a worker of xdist has."""
    paused = []
    while (measuring := coverage.Coverage.current()) is not None:
        measuring.stop()
        paused.append(measuring)
    yield
    for measuring in reversed(paused):
        measuring.start()
