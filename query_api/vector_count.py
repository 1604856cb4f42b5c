"""The number of vectors, asked for at most every few seconds: an exact count is a Strong query."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from stores.vectors.ports import VectorReader

FRESH_S = 5.0


class VectorCount:
    """Counts per bucket (None: all), kept for ``FRESH_S``. Callers that come together share one query."""

    def __init__(self, vectors: VectorReader, clock: Callable[[], float] = time.monotonic) -> None:
        self._vectors = vectors
        self._clock = clock
        self._known: dict[str | None, tuple[float, int]] = {}
        self._lock = asyncio.Lock()

    async def get(self, bucket: str | None) -> int:
        """The count. Raises VectorIndexOutage."""
        async with self._lock:
            counted_at, count = self._known.get(bucket, (float("-inf"), 0))
            if self._clock() - counted_at >= FRESH_S:
                count = await self._vectors.count(bucket)
                # A client can name any bucket: what it named before is not kept.
                fresh = {name: known for name, known in self._known.items() if self._clock() - known[0] < FRESH_S}
                self._known = {**fresh, bucket: (self._clock(), count)}
            return count
