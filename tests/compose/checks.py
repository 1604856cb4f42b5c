"""What the cases ask of what they see."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import httpx

WAIT_S: Final = 180


class ProofFailed(Exception):
    """What should have been seen was not; the message says what was."""


def expect(condition: object, what: str) -> None:
    """Raise ProofFailed unless it holds."""
    if not condition:
        raise ProofFailed(what)


def until(condition: Callable[[], bool], what: str, limit_s: float = WAIT_S) -> float:
    """Wait for it; the seconds that took. Raises ProofFailed."""
    begun = time.monotonic()
    while True:
        try:
            if condition():
                return time.monotonic() - begun
        except (httpx.HTTPError, OSError) as error:
            last: object = error
        else:
            last = ""
        if time.monotonic() - begun > limit_s:
            raise ProofFailed(f"not within {limit_s:.0f} s: {what} {last}")
        time.sleep(0.5)
