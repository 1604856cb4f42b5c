"""What is computed of pictures on demand and kept in memory, by their digest: thumbnails, local features.

Nothing of it is stored: the service only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cachetools import LRUCache
from prometheus_client import Counter

from imaging.digest import digest_of
from query_api.metrics import Metrics
from query_api.sharing.byte_budget import ByteBudget
from query_api.sharing.cpu import CpuPool
from query_api.sharing.gathering import Gathering
from schemas.records import ImageRecord, ObjectRef
from stores.objects.ports import ObjectReader

_AT_ONCE: Final = 10_000


class Made[V](NamedTuple):
    """What was computed, and the SHA-256 of the picture that it was computed of."""

    value: V
    sha256: str


class _Wanted(NamedTuple):
    """What is computed for a longest side of ``side`` pixels of an object of so many bytes with this digest."""

    ref: ObjectRef
    sha256: str
    length: int
    side: int


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where objects are read, and computed on outside the event loop."""

    objects: ObjectReader
    pool: CpuPool
    budget: ByteBudget
    metrics: Metrics


class Derived[V]:
    """``compute`` makes a value of a picture's bytes for a longest side in pixels, within a thread.

    ``size`` says what a value takes, and ``max_bytes`` bounds what is kept. ``stage`` names the computing in the
    metrics, and ``lookups`` counts hits and misses.
    """

    def __init__(
        self,
        compute: Callable[[bytes, int], V],
        size: Callable[[V], int],
        workplace: Workplace,
        *,
        stage: str,
        lookups: Counter,
        max_bytes: int,
    ) -> None:
        self._compute = compute
        self._size = size
        self._workplace = workplace
        self._stage = stage
        self._lookups = lookups
        self._kept: LRUCache[tuple[str, int], V] = LRUCache(max_bytes, getsizeof=size)
        self._asking: Gathering[_Wanted, str, Made[V] | None] = Gathering(self._for_all, most=_AT_ONCE)

    @property
    def nbytes(self) -> float:
        """What all that is kept takes."""
        return self._kept.currsize

    async def of_image(self, image: ImageRecord, side: int, client: str) -> Made[V] | None:
        """Of an object as the catalog knows it, once however many ask; None if it is gone.

        Its bytes count as those of an upload of the client. Where the object was overwritten a moment ago, the answer
        is of the new bytes and says so. Raises UndecodableImage, ObjectStoreOutage, ObjectUnreadable, Overloaded, and
        ObjectTooLarge while the catalog doesn't know of a larger object.
        """
        sha256 = image.sha256 or ""
        kept = self._kept.get((sha256, side))
        self._lookups.labels("hit" if kept is not None else "miss").inc()
        if kept is not None:
            return Made(kept, sha256)
        return await self._asking.ask(_Wanted(image.ref, sha256, image.size, side), client)

    async def of_bytes(self, data: bytes, sha256: str, side: int) -> V:
        """Of a picture that is held already. Raises UndecodableImage and Overloaded."""
        kept = self._kept.get((sha256, side))
        if kept is not None:
            return kept
        value = await self._workplace.pool.run(self._stage, lambda: self._compute(data, side))
        self._keep(value, sha256, side)
        return value

    async def _for_all(self, wanted: _Wanted, clients: Sequence[str]) -> Sequence[Made[V] | None]:
        """At the expense of the first who asks."""
        kept = self._kept.get((wanted.sha256, wanted.side))
        made = Made(kept, wanted.sha256) if kept is not None else await self._read(wanted, clients[0])
        return [made] * len(clients)

    async def _read(self, wanted: _Wanted, client: str) -> Made[V] | None:
        data = bytearray()

        def work() -> Made[V]:
            whole = bytes(data)
            return Made(self._compute(whole, wanted.side), digest_of(whole).sha256)

        with self._workplace.budget.taken(client, wanted.length):
            state = await self._workplace.objects.read(wanted.ref, data.extend, max_bytes=wanted.length)
            if state is None:
                return None
            made = await self._workplace.pool.run(self._stage, work)
        self._keep(made.value, made.sha256, wanted.side)
        return made

    def _keep(self, value: V, sha256: str, side: int) -> None:
        if self._size(value) <= self._kept.maxsize:
            self._kept[sha256, side] = value
