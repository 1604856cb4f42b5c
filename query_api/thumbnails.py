"""Thumbnails: made on demand, kept in memory up to a number of bytes, each made once however many ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from cachetools import LRUCache

from imaging.digest import digest_of
from imaging.limits import DecodeLimits
from imaging.thumbnails import thumbnail
from query_api.body_guard import ByteBudget
from query_api.cpu import CpuPool
from query_api.errors import Unavailable
from query_api.gathering import Gathering
from query_api.metrics import Metrics
from schemas.errors import ObjectTooLarge
from schemas.records import ImageRecord, ObjectRef
from stores.objects.ports import ObjectReader

SIZES = (160, 320, 640)
"""Longest sides that can be asked for, in pixels; any other would let clients fill the cache with variants."""

_AT_ONCE: Final = 10_000


class Thumbnail(NamedTuple):
    """A JPEG and the SHA-256 of the picture that it was made from."""

    jpeg: bytes
    sha256: str


class _Wanted(NamedTuple):
    """A thumbnail of a longest side of ``side`` pixels, of an object of so many bytes with this digest."""

    ref: ObjectRef
    sha256: str
    length: int
    side: int


class Thumbnails:
    """The cache. ``max_bytes`` bounds the JPEGs that it keeps."""

    def __init__(
        self,
        objects: ObjectReader,
        pool: CpuPool,
        budget: ByteBudget,
        limits: DecodeLimits,
        metrics: Metrics,
        *,
        max_bytes: int,
    ) -> None:
        self._objects = objects
        self._pool = pool
        self._budget = budget
        self._limits = limits
        self._metrics = metrics
        self._kept: LRUCache[tuple[str, int], bytes] = LRUCache(max_bytes, getsizeof=len)
        self._asking: Gathering[_Wanted, str, Thumbnail | None] = Gathering(self._for_all, most=_AT_ONCE)

    async def get(self, image: ImageRecord, side: int, client: str) -> Thumbnail | None:
        """The thumbnail of an object, as the catalog knows it; None if it is gone.

        Its bytes count as those of an upload of the client. Where the object was overwritten a moment ago, the answer
        is of the new bytes and says so. Raises UndecodableImage, ObjectStoreOutage, Overloaded, or Unavailable while
        the catalog doesn't know of a larger object.
        """
        sha256 = image.sha256 or ""
        kept = self._kept.get((sha256, side))
        self._metrics.thumbnail_cache.labels("hit" if kept is not None else "miss").inc()
        if kept is not None:
            return Thumbnail(kept, sha256)
        return await self._asking.ask(_Wanted(image.ref, sha256, image.size, side), client)

    async def _for_all(self, wanted: _Wanted, clients: Sequence[str]) -> Sequence[Thumbnail | None]:
        """Made once however many ask, at the expense of the first of them."""
        kept = self._kept.get((wanted.sha256, wanted.side))
        made = Thumbnail(kept, wanted.sha256) if kept is not None else await self._made(wanted, clients[0])
        return [made] * len(clients)

    async def _made(self, wanted: _Wanted, client: str) -> Thumbnail | None:
        with self._budget.taken(client, wanted.length):
            made = await self._make(wanted)
        if made is not None and len(made.jpeg) <= self._kept.maxsize:
            self._kept[made.sha256, wanted.side] = made.jpeg
        return made

    async def _make(self, wanted: _Wanted) -> Thumbnail | None:
        data = bytearray()
        try:
            state = await self._objects.read(wanted.ref, data.extend, max_bytes=wanted.length)
        except ObjectTooLarge as error:
            raise Unavailable("The file is being replaced at this moment.", dependency="objects") from error
        if state is None:
            return None

        def work() -> Thumbnail:
            whole = bytes(data)
            return Thumbnail(thumbnail(whole, self._limits, wanted.side), digest_of(whole).sha256)

        with self._metrics.stage("thumbnail"):
            return await self._pool.run(work)
