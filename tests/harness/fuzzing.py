"""Tests that try what chance makes, marked ``fuzz``: for a second each, or for as long as TWINLENS_FUZZ_S says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from hypothesis import HealthCheck, settings

SECONDS = float(os.environ.get("TWINLENS_FUZZ_S", "1"))

fuzz_settings = settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
"""For a function that :func:`fuzz` calls again and again."""


def fuzz(try_examples: Callable[[], None]) -> None:
    """Call a function, one under ``hypothesis.given`` for example, again and again until the time is over."""
    end = time.monotonic() + SECONDS
    while True:
        try_examples()
        if time.monotonic() > end:
            break
