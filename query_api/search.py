"""Searching: from query vectors to ranked contents. The one place that says what a hit is and in which order.

The same bytes come first, looked up in the catalog (the vector index may lag); then the nearest vectors, each joined
to its content, all in one query. A vector that the catalog does not carry any more is dropped, and the page filled up
from what is next.

An approximate index finds other vectors when it is asked for more of them. So it is asked for fixed numbers, DEPTHS,
whatever part of the ranking is wanted: first come those that the first look finds, by score and then by id, and after
them what only a deeper look finds. All pages are cut from that one ranking: no hit is on two of them, and none on none.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from query_api.queries import Query
from query_api.services import Services
from schemas.collection import MAX_WINDOW
from schemas.similarity import Verdict, distance, score, verdict
from stores.catalog.reading.ports import FoundContent, ImageFilter
from stores.vectors.ports import VectorHit

FEW_IMAGES = 4000
"""Where no more images match the filters, only their vectors are searched; the ids fit into one filter of Milvus."""
DEPTHS = (100, MAX_WINDOW)
"""So many nearest vectors are asked for; the deeper look is for pages, and filters, that the first can't fill."""
_SPARE = 4
"""Vectors looked up in the catalog beyond the page, for those that it drops."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """``offset + limit`` ≤ MAX_WINDOW; ``min_score`` is 0 to 100; ``fresh`` sees the last moments' changes too."""

    limit: int = 20
    offset: int = 0
    min_score: float = 0.0
    where: ImageFilter = field(default_factory=ImageFilter)
    exclude_exact: bool = False
    fresh: bool = False

    @property
    def wanted(self) -> int:
        """Hits to find: the page, all before it, and one more that tells whether there is a next page."""
        return min(self.offset + self.limit + 1, MAX_WINDOW)


@dataclass(frozen=True, slots=True)
class Hit:
    """A content near a query; ``query`` is the index of that query."""

    found: FoundContent
    cosine: float
    verdict: Verdict
    query: int = 0

    @property
    def score(self) -> float:
        """0 to 100."""
        return score(self.cosine)

    @property
    def distance(self) -> float:
        """0 to 4."""
        return distance(self.cosine)

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Sorts the best first."""
        return self.verdict is not Verdict.EXACT, -self.cosine, self.found.content.vector_id


@dataclass(frozen=True, slots=True)
class Page:
    """Hits of a page. ``capped``: the MAX_WINDOW nearest were looked at, and there may be matches beyond them."""

    hits: Sequence[Hit]
    more: bool
    capped: bool = False


async def search(
    queries: Sequence[Query], options: SearchOptions, services: Services, *, copy_threshold: float
) -> list[Page]:
    """One page per query, best first. Raises Outage."""
    rankings = [_Ranking(query, index, options, copy_threshold) for index, query in enumerate(queries)]
    among = await _candidates(options.where, services)
    if among is None or among:
        await _fill(rankings, among, options, services)
    return [ranking.page() for ranking in rankings]


def merged(pages: Sequence[Page], options: SearchOptions) -> Page:
    """One ranking over several queries: every content once, where it is best. Its pages must begin at offset 0."""
    ordered: dict[int, Hit] = {}
    # Merged and not sorted, so that what is at the head does not depend on how far the pages go.
    for hit in heapq.merge(*(page.hits for page in pages), key=lambda hit: hit.rank):
        ordered.setdefault(hit.found.content.vector_id, hit)
    end = options.offset + options.limit
    more = len(ordered) > end or any(page.more for page in pages)
    return Page(list(ordered.values())[options.offset : end], more, any(page.capped for page in pages))


def paged(page: Page, options: SearchOptions) -> Page:
    """The part of a ranking that was asked for."""
    end = options.offset + options.limit
    return replace(page, hits=page.hits[options.offset : end], more=page.more or len(page.hits) > end)


async def _candidates(where: ImageFilter, services: Services) -> set[int] | None:
    """The ids to search among; None where the vector index can filter by itself, or where they are too many."""
    if not where.narrows_beyond_bucket:
        return None
    with services.metrics.stage("sql"):
        ids = await services.ports.catalog.vector_ids(where, limit=FEW_IMAGES + 1)
    return set(ids) if len(ids) <= FEW_IMAGES else None


class _Ranking:
    """The hits of one query, as they are found."""

    def __init__(self, query: Query, index: int, options: SearchOptions, copy_threshold: float) -> None:
        self.query = query
        self._index = index
        self._options = options
        self._copy_threshold = copy_threshold
        self._exact_ids: set[int] = set()
        self._hits: list[Hit] = []
        self._seen: set[int] = set()
        self._nearest: deque[VectorHit] = deque()
        self._ended = False
        self._depth = 0

    @property
    def full(self) -> bool:
        """Whether nothing more is needed, or nothing more can come."""
        return len(self._hits) >= self._options.wanted or (self._ended and not self._nearest)

    def look(self, nearest: Sequence[VectorHit], depth: int) -> None:
        """Add what a look of this depth found beyond those before it."""
        self._depth = depth
        fresh = [near for near in nearest if near.vector_id not in self._seen]
        good = [near for near in fresh if score(near.cosine) >= self._options.min_score]
        self._ended = len(nearest) < depth or len(good) < len(fresh)
        self._seen |= {near.vector_id for near in fresh}
        self._nearest.extend(sorted(good, key=lambda near: (-near.cosine, near.vector_id)))

    def take(self) -> list[VectorHit]:
        """The next vectors to look up: more than all before them, so that a filter that drops most costs few rounds."""
        if self.full:
            return []
        looked_up = len(self._seen) - len(self._nearest)
        count = max(self._options.wanted - len(self._hits) + _SPARE, 3 * looked_up)
        return [self._nearest.popleft() for _ in range(min(count, len(self._nearest)))]

    def add_exact(self, found: Iterable[FoundContent]) -> None:
        """The contents with the query's own bytes, which come before all others."""
        exact = [each for each in found if each.content.sha256 == self.query.sha256]
        self._exact_ids = {each.content.vector_id for each in exact}
        if not self._options.exclude_exact:
            self._hits = [Hit(each, 1.0, Verdict.EXACT, self._index) for each in exact]

    def add(self, nearest: Sequence[VectorHit], found: Mapping[int, FoundContent]) -> None:
        """The next vectors, with the contents that carry them."""
        for near in nearest:
            content = found.get(near.vector_id)
            if content is not None and near.vector_id not in self._exact_ids:
                self._hits.append(self._hit(near, content))

    def _hit(self, near: VectorHit, content: FoundContent) -> Hit:
        kind = verdict(score(near.cosine), same_bytes=False, copy_threshold=self._copy_threshold)
        return Hit(content, near.cosine, kind, self._index)

    def page(self) -> Page:
        """All that was found, from offset 0 on and up to the hit that tells of a next page."""
        short = len(self._hits) < self._options.offset + self._options.limit
        capped = short and not self._ended and self._depth >= MAX_WINDOW
        return Page(self._hits[: self._options.wanted], more=False, capped=capped)


async def _fill(
    rankings: Sequence[_Ranking], among: Collection[int] | None, options: SearchOptions, services: Services
) -> None:
    """Look until every ranking is full: most of the time once, with one question to Milvus and one to SQL.

    The digests are looked up with the first vectors. Contents that match the filters are ``among``, if that is given,
    whatever they are found by.
    """
    digests = {ranking.query.sha256 for ranking in rankings if ranking.query.sha256 is not None}
    for depth in DEPTHS:
        unfilled = [ranking for ranking in rankings if not ranking.full]
        if not unfilled:
            return
        with services.metrics.stage("vectors"):
            answers = await services.vectors.search(
                [ranking.query.vector for ranking in unfilled],
                limit=depth,
                bucket=options.where.bucket,
                among=among,
                strong=options.fresh,
            )
        for ranking, nearest in zip(unfilled, answers, strict=True):
            ranking.look(nearest, depth)
        while any(taken := [ranking.take() for ranking in unfilled]) or digests:
            ids = {near.vector_id for nearest in taken for near in nearest}
            with services.metrics.stage("sql"):
                found = await services.catalog.hits(ids, digests, options.where)
            by_vector = {each.content.vector_id: each for each in found}
            for ranking, nearest in zip(unfilled, taken, strict=True):
                if digests:
                    ranking.add_exact(found)
                ranking.add(nearest, by_vector)
            digests = set()
