"""Thumbnails: made on demand, kept in memory up to a number of bytes, each made once however many ask."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from cachetools import LRUCache

from imaging.digest import digest_of
from imaging.limits import DecodeLimits
from imaging.thumbnails import thumbnail
from query_api.cpu import CpuPool
from query_api.metrics import Metrics
from schemas.records import ObjectRef
from stores.objects.ports import ObjectReader

SIZES = (160, 320, 640)
"""Longest sides that can be asked for, in pixels; any other would let clients fill the cache with variants."""


class Thumbnail(NamedTuple):
    """A JPEG and the SHA-256 of the picture that it was made from."""

    jpeg: bytes
    sha256: str


class Thumbnails:
    """The cache. ``max_bytes`` bounds the JPEGs that it keeps."""

    def __init__(
        self, objects: ObjectReader, pool: CpuPool, limits: DecodeLimits, metrics: Metrics, *, max_bytes: int
    ) -> None:
        self._objects = objects
        self._pool = pool
        self._limits = limits
        self._metrics = metrics
        self._kept: LRUCache[tuple[str, int], bytes] = LRUCache(max_bytes, getsizeof=len)
        self._making: dict[tuple[ObjectRef, str, int], asyncio.Task[Thumbnail | None]] = {}

    async def get(self, ref: ObjectRef, sha256: str, size: int) -> Thumbnail | None:
        """The thumbnail of the object that has this digest by the catalog; None if the object is gone.

        Where the object was overwritten a moment ago, the answer is of the new bytes and says so. Raises
        UndecodableImage, ObjectStoreOutage or Overloaded.
        """
        kept = self._kept.get((sha256, size))
        self._metrics.thumbnail_cache.labels("hit" if kept is not None else "miss").inc()
        if kept is not None:
            return Thumbnail(kept, sha256)
        key = (ref, sha256, size)
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.create_task(self._make(ref, size))
            task.add_done_callback(lambda done: self._made(key, done))
        # Whoever else waits for it shall get it even if this client goes away.
        return await asyncio.shield(task)

    async def _make(self, ref: ObjectRef, size: int) -> Thumbnail | None:
        data = bytearray()
        state = await self._objects.read(ref, data.extend, max_bytes=self._limits.max_bytes)
        if state is None:
            return None

        def work() -> Thumbnail:
            whole = bytes(data)
            return Thumbnail(thumbnail(whole, self._limits, size), digest_of(whole).sha256)

        with self._metrics.stage("thumbnail"):
            return await self._pool.run(work)

    def _made(self, key: tuple[ObjectRef, str, int], task: asyncio.Task[Thumbnail | None]) -> None:
        del self._making[key]
        if task.cancelled() or task.exception() is not None:
            return
        made = task.result()
        if made is not None and len(made.jpeg) <= self._kept.maxsize:
            self._kept[made.sha256, key[2]] = made.jpeg
