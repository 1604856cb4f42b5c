"""What the status page and lists show, shared by all who look at it: fifty open pages ask the servers what one does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from query_api.sharing.shared import Shared
from schemas.patrol import PatrolRound
from stores.catalog.reading.ports import CatalogImage, CatalogReader, ImageFilter, ImageOrder, Position
from stores.vectors.ports import VectorReader

VECTORS_FRESH_S: Final = 5.0
"""An exact count of vectors is a Strong query, which takes Milvus 0.2 s."""


class Minutes(NamedTuple):
    """A time of the status page's chart: all minutes from one on."""

    since: datetime
    bucket: str | None


class ListPage(NamedTuple):
    """A page of a list of images."""

    where: ImageFilter
    order: ImageOrder
    after: Position | None
    limit: int


class Overviews:
    """One for each question. A ``bucket`` of None means all."""

    def __init__(
        self, catalog: CatalogReader, vectors: VectorReader, clock: Callable[[], float] = time.monotonic
    ) -> None:
        async def minutes(key: Minutes) -> Mapping[datetime, int]:
            return await catalog.indexed_per_minute(key.since, key.bucket)

        async def page(key: ListPage) -> Sequence[CatalogImage]:
            return await catalog.page(key.where, order=key.order, after=key.after, limit=key.limit)

        async def patrol_rounds(buckets: tuple[str, ...]) -> Sequence[PatrolRound]:
            return await catalog.patrol_rounds(buckets)

        self.statistics = Shared(catalog.statistics, clock=clock)
        self.minutes = Shared(minutes, clock=clock)
        self.rejections = Shared(catalog.rejections, clock=clock)
        self.patrol_rounds = Shared(patrol_rounds, clock=clock)
        self.vectors = Shared(vectors.count, fresh_s=VECTORS_FRESH_S, clock=clock)
        self.page = Shared(page, clock=clock)
        self.count = Shared(catalog.count, clock=clock)
