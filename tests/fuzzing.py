"""How long fuzzing goes on: a second or two, and a minute in CI."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from hypothesis import HealthCheck, settings

SECONDS = 60.0 if os.environ.get("CI") == "true" else 1.5

fuzz_settings = settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
"""For a function that :func:`fuzz` calls again and again."""


def fuzz(try_examples: Callable[[], None]) -> None:
    """Call a function under ``hypothesis.given`` with new examples until the time is over."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try_examples()
