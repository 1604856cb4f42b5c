"""Which neighbours of a new content are copies of it: local features of both pictures say, before it is recorded.

Only the few nearest are looked at, and of these only such as might be taken for copies: each takes another look at two
objects. What can't be read in time is left unverified, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from cachetools import LRUCache

from imaging.comparing import Comparable
from imaging.errors import UndecodableImage
from schemas.errors import ObjectStoreOutage, ObjectTooLarge, ObjectUnreadable
from schemas.records import ContentId, Neighbour, ObjectRef
from schemas.settings import IndexSettings
from stores.objects.ports import ObjectReader
from streams.common import metrics
from streams.common.concurrency import side_by_side
from streams.index.converge_contents import Embedded

BELOW_THRESHOLD: Final = 5.0
"""So far below the model's copy threshold neighbours are looked at: of unrelated photographs, few have one there."""
LOOKS_AT_ONCE: Final = 2
"""Objects that are held in memory, for all batches."""
TIME_LIMIT_S: Final = 5.0
"""So long a batch waits for all that is to be looked at."""

type Verify = Callable[[Sequence[Embedded]], Awaitable[list[Embedded]]]
"""The same contents, each with what is known of its neighbours. Safe to repeat."""


class Looking(Protocol):
    """Looking at pictures: ``streams.index.inference`` in a worker."""

    async def comparable(self, data: bytes, sha256: str) -> Comparable | None:
        """What is kept of a picture to compare it; None for other bytes. Raises UndecodableImage."""

    async def is_copy(self, one: Comparable, other: Comparable) -> bool:
        """Whether one is a copy of the other, or of a part of it."""


async def unverified(batch: Sequence[Embedded]) -> list[Embedded]:
    """Verify nothing."""
    return list(batch)


class Nearest:
    """Verifies neighbours, and keeps what it has seen of pictures by their digest.

    ``copy_threshold`` is that of the model in use; of objects larger than ``max_bytes`` nothing is looked at.
    """

    def __init__(
        self,
        objects: ObjectReader,
        looking: Looking,
        settings: IndexSettings,
        *,
        copy_threshold: float,
        max_bytes: int,
    ) -> None:
        self._objects = objects
        self._max_bytes = max_bytes
        self._looking = looking
        self._most = settings.verify_nearest
        self._least_score = copy_threshold - BELOW_THRESHOLD
        self._slots = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._kept: LRUCache[ContentId, Comparable] = LRUCache(
            settings.features_cache_bytes, getsizeof=lambda each: each.nbytes
        )

    async def verified(self, batch: Sequence[Embedded]) -> list[Embedded]:
        """See Verify."""
        doubtful = [self._doubtful(item) for item in batch]
        wanted: dict[ContentId, ObjectRef] = {}
        for item, others in zip(batch, doubtful, strict=True):
            digests = [item.content.sha256, *[near.sha256 for near in others]] if others else []
            wanted |= {
                ContentId(item.content.bucket, each): item.objects[each] for each in digests if each in item.objects
            }
        if not wanted:
            return list(batch)
        with metrics.stage("verify"):
            seen = await self._seen(wanted)
            return [await self._judged(item, others, seen) for item, others in zip(batch, doubtful, strict=True)]

    def _doubtful(self, item: Embedded) -> Sequence[Neighbour]:
        return [near for near in item.nearest if near.score >= self._least_score][: self._most]

    async def _seen(self, wanted: Mapping[ContentId, ObjectRef]) -> Mapping[ContentId, Comparable]:
        """Those of the contents that can be looked at now."""
        seen = {content_id: self._kept[content_id] for content_id in wanted if content_id in self._kept}
        missing = {content_id: ref for content_id, ref in wanted.items() if content_id not in seen}
        ends_at = asyncio.get_running_loop().time() + TIME_LIMIT_S
        looks = [self._look(content_id, ref, ends_at) for content_id, ref in missing.items()]
        for content_id, picture in zip(missing, await side_by_side(looks, limit=len(looks) or 1), strict=True):
            if picture is not None:
                seen[content_id] = picture
                self._keep(content_id, picture)
        return seen

    async def _look(self, content_id: ContentId, ref: ObjectRef, ends_at: float) -> Comparable | None:
        data = bytearray()
        try:
            async with asyncio.timeout_at(ends_at), self._slots:
                if await self._objects.read(ref, data.extend, max_bytes=self._max_bytes) is None:
                    return None
                return await self._looking.comparable(bytes(data), content_id.sha256)
        except (TimeoutError, ObjectStoreOutage, ObjectUnreadable, ObjectTooLarge, UndecodableImage):
            return None

    def _keep(self, content_id: ContentId, picture: Comparable) -> None:
        if picture.nbytes <= self._kept.maxsize:
            self._kept[content_id] = picture

    async def _judged(
        self, item: Embedded, doubtful: Collection[Neighbour], seen: Mapping[ContentId, Comparable]
    ) -> Embedded:
        one = seen.get(item.content.id)
        verified: dict[str, bool | None] = {}
        for near in doubtful:
            other = seen.get(ContentId(item.content.bucket, near.sha256))
            verified[near.sha256] = await self._is_copy(one, other)
        return replace(item, nearest=tuple(replace(near, verified=verified.get(near.sha256)) for near in item.nearest))

    async def _is_copy(self, one: Comparable | None, other: Comparable | None) -> bool | None:
        """None where it can't be said. Pictures without features are copies by their bytes alone."""
        if one is None or other is None:
            return None
        if one.is_featureless or other.is_featureless:
            return False
        if one.has_few_features or other.has_few_features:
            return None
        return await self._looking.is_copy(one, other)
