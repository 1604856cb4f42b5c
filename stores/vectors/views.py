"""Contents with views: beside a collection lies one for each view, and together they act as one index.

A content's views are stored under its own vector id, each in the collection of its place. So an id says all that
belongs to a content; the nearest contents by the nearest view are found exactly, since each collection names a content
once; and every collection is one like any other, of the same model, made and dropped with the one that it belongs to.

Which views there are is told by the collections that are there, and not by the settings of whoever looks: a process
that was started before the views were turned on deletes them too, a moment later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import batched
from typing import Any, Final

from schemas.collection import VIEWS, ViewLayout, view_collections
from schemas.errors import ConfigurationError, VectorIndexOutage
from stores.vectors.ports import LiveCollection, Vector, VectorEntry, VectorHit, VectorIndex

LOOK_EVERY_S: Final = 10.0
"""So soon it is noticed that views were turned on or off; at once where a call met an outage."""
NOT_NEAR: Final = -1.0
"""The cosine of a whole that is not among the nearest: none is lower."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A collection, as it was found: the wholes, and one index for each view."""

    name: str | None
    layout: ViewLayout
    wholes: VectorIndex
    views: Sequence[VectorIndex] = ()

    @property
    def all(self) -> list[VectorIndex]:
        return [self.wholes, *self.views]


class VectorsWithViews:
    """A VectorIndex of wholes and views over one that knows no views.

    ``wanted`` is the layout of collections that are made by this; ``collection`` the one that ``plain`` was pinned to.
    """

    def __init__(self, plain: VectorIndex, wanted: ViewLayout = "none", *, collection: str | None = None) -> None:
        self._plain = plain
        self._wanted: ViewLayout = wanted
        self._collection = collection
        self._seen: _Seen | None = None
        self._look_again_at = 0.0

    def of(self, collection: str) -> VectorsWithViews:
        """See VectorIndex."""
        return VectorsWithViews(self._plain.of(collection), self._wanted, collection=collection)

    async def layout(self) -> ViewLayout:
        """See VectorIndex."""
        async with self._looking() as seen:
            return seen.layout

    async def search(
        self,
        queries: Sequence[Vector],
        *,
        limit: int,
        bucket: str | None = None,
        among: Collection[int] | None = None,
        strong: bool = False,
    ) -> list[list[VectorHit]]:
        """See VectorReader."""
        async with self._looking() as seen:
            return await seen.wholes.search(queries, limit=limit, bucket=bucket, among=among, strong=strong)

    async def search_all(
        self,
        queries: Sequence[Vector],
        *,
        limit: int,
        bucket: str | None = None,
        among: Collection[int] | None = None,
        strong: bool = False,
    ) -> list[list[VectorHit]]:
        """See VectorReader. Every collection is asked for the ``limit`` nearest, so the best of all are among them."""
        async with self._looking() as seen:
            answers = await _all(
                each.search(queries, limit=limit, bucket=bucket, among=among, strong=strong) for each in seen.all
            )
        return [_nearest(hits, limit) for hits in zip(*answers, strict=True)]

    async def get(self, vector_ids: Sequence[int], *, strong: bool = True) -> Mapping[int, Vector]:
        """See VectorReader."""
        async with self._looking() as seen:
            return await seen.wholes.get(vector_ids, strong=strong)

    async def known(self, vector_ids: Collection[int]) -> set[int]:
        """See VectorIndex."""
        async with self._looking() as seen:
            return set().union(*await _all(each.known(vector_ids) for each in seen.all))

    async def incomplete(self, vector_ids: Collection[int]) -> set[int]:
        """See VectorIndex."""
        async with self._looking() as seen:
            if not seen.views or not vector_ids:
                return set()
            known = await _all(each.known(vector_ids) for each in seen.all)
            return {number for number in vector_ids if not all(number in ids for ids in known)}

    async def count(self, bucket: str | None = None) -> int:
        """See VectorReader."""
        async with self._looking() as seen:
            return await seen.wholes.count(bucket)

    async def check(self) -> None:
        """See VectorReader. Which views there are is looked at anew."""
        self._look_again_at = 0.0
        async with self._looking() as seen:
            await _all(each.check() for each in seen.all)

    async def model_name(self) -> str:
        """See VectorReader."""
        return await self._plain.model_name()

    async def live(self) -> LiveCollection:
        """See VectorReader."""
        return await self._plain.live()

    async def upsert(self, entries: Sequence[VectorEntry]) -> None:
        """See VectorIndex. Where the whole is found, its views are there."""
        async with self._looking() as seen:
            whole = [entry for entry in entries if len(entry.views) == len(seen.views)]
            await _all(
                view.upsert([VectorEntry(entry.vector_id, entry.bucket, entry.views[place]) for entry in whole])
                for place, view in enumerate(seen.views)
            )
            await seen.wholes.upsert([entry._replace(views=()) for entry in entries])

    async def delete(self, vector_ids: Sequence[int]) -> None:
        """See VectorIndex."""
        async with self._looking() as seen:
            await _all(each.delete(vector_ids) for each in seen.all)

    async def ids(self, *, bucket: str, after: int = -1, page: int = 1000) -> AsyncIterator[Sequence[int]]:
        """See VectorIndex."""
        async with self._looking() as seen, AsyncExitStack() as closing:
            streams: list[AsyncIterator[Sequence[int]]] = []
            for each in seen.all:
                stream: Any = each.ids(bucket=bucket, after=after, page=page)
                streams.append(await closing.enter_async_context(aclosing(stream)))
            async for numbers in rising_union(streams, page=page):
                yield numbers

    async def ensure_collection(self, *, model_name: str, dimension: int) -> None:
        """See VectorIndex. Views of another layout than is wanted go, and those that are wanted come."""
        await self._plain.ensure_collection(model_name=model_name, dimension=dimension)
        await self._fit((await self._plain.live()).name, model_name, dimension)

    async def create(self, collection: str, *, model_name: str, dimension: int) -> None:
        """See VectorIndex. Its views come with it."""
        await self._plain.create(collection, model_name=model_name, dimension=dimension)
        await self._fit(collection, model_name, dimension)

    async def make_live(self, collection: str) -> None:
        """See VectorIndex."""
        await self._plain.make_live(collection)
        self._look_again_at = 0.0

    async def drop(self, collection: str) -> None:
        """See VectorIndex. Its views go after it: whoever was killed in between drops it again."""
        await self._plain.drop(collection)
        for layout in VIEWS:
            await self._drop_views(collection, layout)

    async def has(self, collection: str) -> bool:
        """See VectorIndex."""
        return await self._plain.has(collection)

    async def flush(self) -> None:
        """See VectorIndex."""
        async with self._looking() as seen:
            await _all(each.flush() for each in seen.all)

    async def _fit(self, collection: str, model_name: str, dimension: int) -> None:
        """Have the views that are wanted, and no others. The first is made last: whoever sees it may use them all."""
        for layout in VIEWS:
            if layout != self._wanted:
                await self._drop_views(collection, layout)
        for name in reversed(view_collections(collection, self._wanted)):
            await self._plain.create(name, model_name=model_name, dimension=dimension)
        self._look_again_at = 0.0

    async def _drop_views(self, collection: str, layout: ViewLayout) -> None:
        for name in view_collections(collection, layout):
            await self._plain.drop(name)

    @asynccontextmanager
    async def _looking(self) -> AsyncIterator[_Seen]:
        """What there is; after an outage it is looked at again, since collections may have come or gone."""
        now = asyncio.get_running_loop().time()
        try:
            if self._seen is None or now >= self._look_again_at:
                self._seen = await self._look(self._seen)
                self._look_again_at = now + LOOK_EVERY_S
            yield self._seen
        except VectorIndexOutage:
            self._look_again_at = 0.0
            raise

    async def _look(self, before: _Seen | None) -> _Seen:
        name = self._collection or await self._live_name()
        layout = await self._layout_of(name) if name is not None else "none"
        if before is not None and (before.name, before.layout) == (name, layout):
            return before
        if name is None or layout == "none":
            return _Seen(name, layout, self._plain)
        # By its name, though it may be the live one: wholes and views must be of one collection.
        wholes = self._plain if self._collection else self._plain.of(name)
        return _Seen(name, layout, wholes, [self._plain.of(view) for view in view_collections(name, layout)])

    async def _live_name(self) -> str | None:
        try:
            return (await self._plain.live()).name
        except ConfigurationError:
            return None

    async def _layout_of(self, collection: str) -> ViewLayout:
        for layout, count in VIEWS.items():
            if count and await self._plain.has(view_collections(collection, layout)[0]):
                return layout
        return "none"


def _nearest(answers: Sequence[Sequence[VectorHit]], limit: int) -> list[VectorHit]:
    """The best of one query's answers, that by the wholes first; each content once, where it is nearest."""
    wholes, *views = answers
    if not views:
        return list(wholes)
    cosines = {hit.vector_id: hit.cosine for hit in wholes}
    best = {hit.vector_id: hit for hit in wholes}
    for hit in (hit for hits in views for hit in hits):
        known = best.get(hit.vector_id)
        if known is None or hit.cosine > known.cosine:
            best[hit.vector_id] = hit._replace(whole=cosines.get(hit.vector_id, NOT_NEAR))
    return sorted(best.values(), key=lambda hit: (-hit.cosine, hit.vector_id))[:limit]


async def rising_union(streams: Sequence[AsyncIterator[Sequence[int]]], *, page: int) -> AsyncIterator[Sequence[int]]:
    """Pages of all ids that any of the streams has, each once and in rising order; each stream has rising pages.

    At most a page of each is held.
    """
    held: list[list[int]] = [[] for _ in streams]
    ended: set[int] = set()
    while True:
        for place, stream in enumerate(streams):
            if not held[place] and place not in ended:
                async for numbers in stream:
                    held[place] = list(numbers)
                    break
                else:
                    ended.add(place)
        if not any(held):
            return
        # Up to the nearest end of a page, every stream has told all of its ids.
        upto = min(numbers[-1] for numbers in held if numbers)
        union = sorted({number for numbers in held for number in numbers if number <= upto})
        held = [[number for number in numbers if number > upto] for numbers in held]
        for part in batched(union, page):
            yield part


async def _all[T](calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order. All have ended when the first failure is raised: none takes effect behind our back."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.gather(*tasks, return_exceptions=True)
    return [task.result() for task in tasks]
