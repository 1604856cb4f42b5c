"""How often those without a key may ask, where keys are asked for: a bucket of tokens for each address.

Not by `limits`, which holds the configured rate: it looks through all addresses that it remembers a hundred times a
second, and so a flood from a thousand of them made each request 0.15 ms dearer, from twenty thousand 0.19.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache

A_SECOND: Final = 20
BURST: Final = 200
"""Some loads of the page, which asks for its files anew each time; key holders' browsers send the cookie with it."""
_KEPT: Final = 10_000


class OpenRate:
    """Counts what each address asks; of the last ten thousand addresses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens: LRUCache[str, tuple[float, float]] = LRUCache(_KEPT)

    def takes(self, client: str) -> bool:
        """Whether this address may ask now; if so, that is counted."""
        now = self._clock()
        left, since = self._tokens.get(client, (float(BURST), now))
        left = min(float(BURST), left + A_SECOND * (now - since))
        allowed = left >= 1
        self._tokens[client] = (left - allowed, now)
        return allowed
