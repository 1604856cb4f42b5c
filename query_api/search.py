"""Searching: from query vectors to ranked contents. The one place that says what a hit is and in which order.

The same bytes come first, looked up in the catalog (the vector index may lag); then the nearest vectors, each joined
to its content, all in one query. A vector that the catalog does not carry any more is dropped, and the page filled up
from what is next.
"""

from __future__ import annotations

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
_SPARE = 4
"""Hits asked for beyond the page, for those that the catalog drops."""


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
    def rank(self) -> tuple[bool, float]:
        """Sorts the best first."""
        return self.verdict is not Verdict.EXACT, -self.cosine


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
    best: dict[int, Hit] = {}
    for page in pages:
        for hit in page.hits:
            known = best.get(hit.found.content.vector_id)
            if known is None or hit.rank < known.rank:
                best[hit.found.content.vector_id] = hit
    ordered = sorted(best.values(), key=lambda hit: hit.rank)
    end = options.offset + options.limit
    more = len(ordered) > end or any(page.more for page in pages)
    return Page(ordered[options.offset : end], more, any(page.capped for page in pages))


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
        self.looked_at = 0
        self.ended = False

    @property
    def full(self) -> bool:
        """Whether nothing more is needed, or nothing more can come."""
        return self.ended or len(self._hits) >= self._options.wanted or self.looked_at >= MAX_WINDOW

    @property
    def missing(self) -> int:
        """Hits still to be found."""
        return self._options.wanted - len(self._hits)

    def add_exact(self, found: Iterable[FoundContent]) -> None:
        """The contents with the query's own bytes, which come before all others."""
        exact = [each for each in found if each.content.sha256 == self.query.sha256]
        self._exact_ids = {each.content.vector_id for each in exact}
        if not self._options.exclude_exact:
            self._hits = [Hit(each, 1.0, Verdict.EXACT, self._index) for each in exact]

    def add(self, nearest: Sequence[VectorHit], asked: int, found: Mapping[int, FoundContent]) -> None:
        """The next nearest vectors, with the contents that carry them."""
        self.looked_at += asked
        self.ended = len(nearest) < asked
        for near in nearest:
            if score(near.cosine) < self._options.min_score:
                self.ended = True
                return
            content = found.get(near.vector_id)
            if content is not None and near.vector_id not in self._exact_ids:
                self._hits.append(self._hit(near, content))

    def _hit(self, near: VectorHit, content: FoundContent) -> Hit:
        kind = verdict(score(near.cosine), same_bytes=False, copy_threshold=self._copy_threshold)
        return Hit(content, near.cosine, kind, self._index)

    def page(self) -> Page:
        """All that was found, from offset 0 on and up to the hit that tells of a next page."""
        short = len(self._hits) < self._options.offset + self._options.limit
        capped = short and not self.ended and self.looked_at >= MAX_WINDOW
        return Page(self._hits[: self._options.wanted], more=False, capped=capped)


async def _fill(
    rankings: Sequence[_Ranking], among: Collection[int] | None, options: SearchOptions, services: Services
) -> None:
    """Search on until every ranking is full: most of the time once, with one question to Milvus and one to SQL.

    The digests are looked up with the first vectors. Contents that match the filters are ``among``, if that is given,
    whatever they are found by.
    """
    digests = {ranking.query.sha256 for ranking in rankings if ranking.query.sha256 is not None}
    asked = 0
    while open_rankings := [ranking for ranking in rankings if not ranking.full]:
        missing = max(ranking.missing for ranking in open_rankings)
        begin = asked
        # Each round looks at more than all before it together, so that a filter that drops most costs few rounds.
        asked = min(MAX_WINDOW, begin + max(missing + _SPARE, 3 * begin))
        with services.metrics.stage("vectors"):
            answers = await services.vectors.search(
                [ranking.query.vector for ranking in open_rankings],
                limit=asked - begin,
                offset=begin,
                bucket=options.where.bucket,
                among=among,
                strong=options.fresh,
            )
        ids = {near.vector_id for nearest in answers for near in nearest}
        with services.metrics.stage("sql"):
            found = await services.catalog.hits(ids, digests if begin == 0 else (), options.where)
        by_vector = {each.content.vector_id: each for each in found}
        for ranking, nearest in zip(open_rankings, answers, strict=True):
            if begin == 0:
                ranking.add_exact(found)
            ranking.add(nearest, asked - begin, by_vector)
