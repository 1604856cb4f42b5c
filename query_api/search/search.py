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
from itertools import islice

from imaging.views import Box
from query_api.metrics import Metrics
from query_api.pictures.verification import Unverified, Verification
from query_api.search.live_model import Model
from query_api.search.queries import Query
from query_api.sharing.gathered import GatheredCatalog
from schemas.collection import MAX_WINDOW
from schemas.similarity import BEST_LOOKED_AT, Verdict, distance, score, verdict
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
    """``offset + limit`` ≤ MAX_WINDOW; ``min_score`` is 0 to 100; ``fresh`` sees the last moments' changes too.

    ``verify`` asks for the best hits to be verified (``query_api.search.verifying``).
    With ``parts``, pictures that come with the request are searched for in parts as well.
    """

    limit: int = 20
    offset: int = 0
    min_score: float = 0.0
    where: ImageFilter = field(default_factory=ImageFilter)
    exclude_exact: bool = False
    fresh: bool = False
    verify: bool = False
    parts: bool = False

    @property
    def wanted(self) -> int:
        """Hits to find: the page, all before it, and one more that tells whether there is a next page.

        The best are always found, whatever the page: what is said of one depends on those after it.
        """
        return min(max(self.offset + self.limit, BEST_LOOKED_AT) + 1, MAX_WINDOW)


@dataclass(frozen=True, slots=True)
class Hit:
    """A content near a query; ``query`` is the index of that query."""

    found: FoundContent
    cosine: float
    verdict: Verdict
    query: int = 0
    likely: bool = False
    """Whether it may well be a copy, though that is not verified."""
    verification: Verification = Unverified.NOT_ASKED
    part: Box | None = None
    """The part of the query that is nearest to it; None if that is the whole."""
    cosine_of_whole: float | None = None
    """Where a view of the content is nearest: that of its whole, by which the score makes a copy of it or not."""

    @property
    def score(self) -> float:
        """0 to 100."""
        return score(self.cosine)

    @property
    def score_of_whole(self) -> float:
        """That of the whole content, 0 to 100."""
        return self.score if self.cosine_of_whole is None else score(self.cosine_of_whole)

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


class _Ranking:
    """The hits of one query, as they are found. A vector is as near as the part of the query that is nearest to it."""

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
        self._parts: dict[int, Box] = {}

    @property
    def full(self) -> bool:
        """Whether nothing more is needed, or nothing more can come."""
        return len(self._hits) >= self._options.wanted or (self._ended and not self._nearest)

    def look(self, answers: Sequence[Sequence[VectorHit]], depth: int) -> None:
        """Add what a look of this depth found beyond those before it: an answer for each of the query's vectors."""
        self._depth = depth
        least = self._options.min_score
        # Beyond a hit whose score is too low, an answer has none that is high enough.
        self._ended = all(len(nearest) < depth or score(nearest[-1].cosine) < least for nearest in answers)
        boxes = [None, *(part.box for part in self.query.parts)]
        fresh: dict[int, VectorHit] = {}
        for box, nearest in zip(boxes, answers, strict=True):
            for near in nearest:
                known = fresh.get(near.vector_id)
                if near.vector_id in self._seen:
                    continue
                if known is not None and known.cosine >= near.cosine:
                    fresh[near.vector_id] = _with_evidence(known, near)
                    continue
                fresh[near.vector_id] = near if known is None else _with_evidence(near, known)
                if box is not None:
                    self._parts[near.vector_id] = box
        good = [near for near in fresh.values() if score(near.cosine) >= least]
        self._seen |= fresh.keys()
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
        exact = [each for each in found if each.content.sha256 == self.query.file_sha256]
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
        kind = verdict(score(near.cosine_of_whole), same_bytes=False, copy_threshold=self._copy_threshold)
        part = self._parts.get(near.vector_id)
        return Hit(content, near.cosine, kind, self._index, part=part, cosine_of_whole=near.whole)

    def page(self) -> Page:
        """All that was found, from offset 0 on and up to the hit that tells of a next page."""
        short = len(self._hits) < self._options.offset + self._options.limit
        capped = short and not self._ended and self._depth >= MAX_WINDOW
        return Page(self._hits[: self._options.wanted], more=False, capped=capped)


def _with_evidence(nearest: VectorHit, other: VectorHit) -> VectorHit:
    """The nearest with what another part of the query tells of the whole, where it is a view that is nearest."""
    if nearest.whole is None:
        return nearest
    return nearest._replace(whole=max(nearest.whole, other.cosine_of_whole))


@dataclass(frozen=True, slots=True)
class Ranker:
    """Ranks what is near queries."""

    catalog: GatheredCatalog
    metrics: Metrics

    async def pages(self, queries: Sequence[Query], options: SearchOptions, model: Model) -> list[Page]:
        """One page per query, best first; all of them are the model's. Raises Outage."""
        rankings = [_Ranking(query, index, options, model.copy_threshold) for index, query in enumerate(queries)]
        among = await self._candidates(options.where)
        if among is None or among:
            await self._fill(rankings, among, options, model)
        return [ranking.page() for ranking in rankings]

    async def _candidates(self, where: ImageFilter) -> set[int] | None:
        """The ids to search among; None where the vector index can filter by itself, or where they are too many."""
        if not where.narrows_beyond_bucket:
            return None
        with self.metrics.stage("sql"):
            ids = await self.catalog.vector_ids(where, limit=FEW_IMAGES + 1)
        return set(ids) if len(ids) <= FEW_IMAGES else None

    async def _fill(
        self, rankings: Sequence[_Ranking], among: Collection[int] | None, options: SearchOptions, model: Model
    ) -> None:
        """Look until every ranking is full: most of the time once, with one question to Milvus and one to SQL.

        The digests are looked up with the first vectors. Contents that match the filters are ``among``, if that is
        given, whatever they are found by.
        """
        digests = {ranking.query.file_sha256 for ranking in rankings if ranking.query.file_sha256 is not None}
        for depth in DEPTHS:
            unfilled = [ranking for ranking in rankings if not ranking.full]
            if not unfilled:
                return
            with self.metrics.stage("vectors"):
                answers = await model.vectors.search_all(
                    [vector for ranking in unfilled for vector in ranking.query.vectors],
                    limit=depth,
                    bucket=options.where.bucket,
                    among=among,
                    strong=options.fresh,
                )
            remaining = iter(answers)
            for ranking in unfilled:
                ranking.look(list(islice(remaining, len(ranking.query.vectors))), depth)
            while any(taken := [ranking.take() for ranking in unfilled]) or digests:
                ids = {near.vector_id for nearest in taken for near in nearest}
                with self.metrics.stage("sql"):
                    found = await self.catalog.hits(ids, digests, options.where)
                by_vector = {each.content.vector_id: each for each in found}
                for ranking, nearest in zip(unfilled, taken, strict=True):
                    if digests:
                        ranking.add_exact(found)
                    ranking.add(nearest, by_vector)
                digests = set()
