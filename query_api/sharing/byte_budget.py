"""How many bytes that clients sent, or that are read for them, the process holds at one moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from query_api.errors import Overloaded
from query_api.metrics import Metrics


class ByteBudget:
    """Bytes of bodies, and of pictures that are read for a thumbnail, that the process holds at one moment.

    A client has a share of half of them, but always as many as its largest request may have.
    """

    def __init__(self, limit: int, metrics: Metrics, *, largest_request: int) -> None:
        self._limit = limit
        self._share = max(limit // 2, min(limit, largest_request))
        self._metrics = metrics
        self._held: Counter[str] = Counter()

    def take(self, client: str, count: int) -> None:
        """Count bytes in. Raises Overloaded where they are too many; waiting would hold what came before."""
        if self._held.total() + count > self._limit or self._held.get(client, 0) + count > self._share:
            self._metrics.shed.labels("bytes").inc()
            raise Overloaded("Too many bytes are being worked on at the moment; try again in a second.")
        self._held[client] += count

    @contextmanager
    def taken(self, client: str, count: int) -> Iterator[None]:
        """So many bytes are held within the block. Raises Overloaded."""
        self.take(client, count)
        try:
            yield
        finally:
            self.give_back(client, count)

    def give_back(self, client: str, count: int) -> None:
        """Count bytes out."""
        self._held[client] -= count
        if not self._held[client]:
            del self._held[client]
