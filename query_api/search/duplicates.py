"""Groups of pictures that are the same: by their bytes, or by how they look.

Both walk the catalog in a fixed order and hold one group and one page of contents at a time, never the catalog; a
position in that order is all that is needed to go on. `twinlens duplicates` uses the same two generators.

Near duplicates: two indexed contents of one bucket are linked when their score is at least ``min_score``; a group is
what hangs together by links. It is reported by its member with the lowest vector id, so each group comes once, wherever
the walk begins and in however many pages. Only the ``LINKS_PER_CONTENT`` nearest of a content are looked at, and a
group is followed up to ``MAX_GROUP`` contents; beyond that it is reported as truncated.

With ``verify``, a link holds only if local features confirm it; what could not be looked at is linked by its score.
Only links that lead to contents which are not in the group yet are looked at, ``MAX_PAIRS`` for one group.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import NamedTuple

from query_api.search.stored_vectors import stored_vectors
from schemas.records import ContentId, ContentRecord
from schemas.similarity import score
from stores.catalog.reading.ports import CatalogReader, DuplicateReader, FoundContent, HitReader, ImageFilter
from stores.vectors.ports import Vector, VectorHit, VectorReader

LINKS_PER_CONTENT = 50
MAX_GROUP = 500
MAX_PAIRS = 300
"""Pairs that are verified for one group; a content whose links are all refuted has LINKS_PER_CONTENT of them."""
_EXACT_PAGE = 100
_NEAR_PAGE = 64
_A_GROUP = 2
_AT_ONCE = 4
"""Pairs that are verified side by side."""

type Verify = Callable[[FoundContent, FoundContent], Awaitable[bool | None]]
"""Whether one of two contents is a copy of the other; None where that can't be said. The same either way round."""


@dataclass(frozen=True, slots=True)
class Group:
    """Contents (one for an exact group) with their images. ``score`` is that of the weakest link, 0 to 100.

    ``verified``: what holds it together was confirmed by local features.
    """

    contents: Sequence[FoundContent]
    score: float
    truncated: bool = False
    verified: bool = False

    @property
    def bucket(self) -> str:
        """A group lies within one bucket."""
        return self.contents[0].content.bucket

    @property
    def size(self) -> int:
        """How many images it has."""
        return sum(each.total for each in self.contents)


class ExactStep(NamedTuple):
    """A group, or None for one that vanished while it was read, and where to go on."""

    group: Group | None
    position: ContentId


class NearStep(NamedTuple):
    """One content was looked at; ``group`` if it reports one. ``position`` is its vector id."""

    group: Group | None
    position: int


async def exact_groups(
    catalog: DuplicateReader, *, bucket: str | None, after: ContentId | None = None
) -> AsyncIterator[ExactStep]:
    """Groups of objects with the same bytes, in the order of bucket and SHA-256. Raises CatalogOutage."""
    position = after
    while page := await catalog.same_bytes(bucket, after=position, limit=_EXACT_PAGE):
        found = await catalog.of_contents([each.content_id for each in page])
        for each in page:
            content = found.get(each.content_id)
            yield ExactStep(_exact(content), each.content_id)
        position = page[-1].content_id


def _exact(content: FoundContent | None) -> Group | None:
    if content is None or content.total < _A_GROUP:
        return None
    return Group([content], 100.0, truncated=content.total > len(content.images))


async def near_groups(
    catalog: CatalogReader,
    vectors: VectorReader,
    *,
    bucket: str | None,
    min_score: float,
    after: int = -1,
    verify: Verify | None = None,
) -> AsyncIterator[NearStep]:
    """Groups of different pictures that look the same, in the order of vector ids. Raises Outage."""
    position = after
    while page := await catalog.contents_after(position, bucket=bucket, limit=_NEAR_PAGE):
        links = _Links(vectors, min_score)
        await links.load([content.vector_id for content in page], _by_bucket(page))
        for content in page:
            verdicts = _Verdicts(catalog, verify, content.bucket)
            yield NearStep(await _group_led_by(content, links, verdicts, catalog), content.vector_id)
        position = page[-1].vector_id


def _by_bucket(page: Sequence[ContentRecord]) -> dict[int, str]:
    return {content.vector_id: content.bucket for content in page}


async def _group_led_by(first: ContentRecord, links: _Links, verdicts: _Verdicts, catalog: HitReader) -> Group | None:
    """The group of a content if it is the one to report it."""
    members, weakest = {first.vector_id}, 100.0
    frontier = [first.vector_id]
    truncated = False
    while frontier:
        await links.load(frontier, dict.fromkeys(frontier, first.bucket))
        reached: dict[int, float] = {}
        for vector_id in frontier:
            known = members | set(reached)
            near = {each.vector_id: score(each.cosine) for each in links.of(vector_id) if each.vector_id != vector_id}
            fresh = sorted(near.keys() - known)
            held = await verdicts.held(vector_id, fresh, until=first.vector_id)
            if min(held, default=first.vector_id) < first.vector_id:
                return None
            reached |= {each: near[each] for each in held}
            weakest = min([weakest, *(near[each] for each in held), *verdicts.trusted(near, known)])
        frontier = sorted(reached)[: MAX_GROUP - len(members)]
        truncated = truncated or len(reached) + len(members) > MAX_GROUP or verdicts.exhausted
        members |= set(frontier)
    if len(members) == 1:
        return None
    return await _known(members, weakest, truncated, verdicts.all_verified, first, catalog)


async def _known(
    members: set[int], weakest: float, truncated: bool, verified: bool, first: ContentRecord, catalog: HitReader
) -> Group | None:
    """The group with its images, without what the catalog does not carry any more."""
    found = await catalog.by_vector(members, ImageFilter(bucket=first.bucket))
    if len(found) < _A_GROUP:
        return None
    ordered = [found[vector_id] for vector_id in sorted(found)]
    return Group(ordered, weakest, truncated or any(each.total > len(each.images) for each in ordered), verified)


class _Verdicts:
    """Which links of one group hold."""

    def __init__(self, catalog: HitReader, verify: Verify | None, bucket: str) -> None:
        self._catalog = catalog
        self._verify = verify
        self._where = ImageFilter(bucket=bucket)
        self._pairs_left = MAX_PAIRS
        self.exhausted = False
        self.all_verified = verify is not None

    async def held(self, vector_id: int, others: Sequence[int], *, until: int) -> list[int]:
        """Those of the others, in order, to which a link holds; no more than the first, if that is below ``until``."""
        if self._verify is None or not others:
            return list(others)
        found = await self._catalog.by_vector({vector_id, *others}, self._where)
        one = found.get(vector_id)
        held: list[int] = []
        for some in batched([each for each in others if each in found], _AT_ONCE):
            self.exhausted = self.exhausted or self._pairs_left < len(some)
            if one is None or self.exhausted:
                break
            self._pairs_left -= len(some)
            # The lower one is always the query, so that a pair has one verdict, from whichever side it is met.
            said = await asyncio.gather(
                *[self._verify(*((one, found[each]) if vector_id < each else (found[each], one))) for each in some]
            )
            self.all_verified = self.all_verified and None not in said
            held += [each for each, is_copy in zip(some, said, strict=True) if is_copy is not False]
            if held and held[0] < until:
                break
        return held

    def trusted(self, near: Mapping[int, float], members: Collection[int]) -> list[float]:
        """The scores of links between members, where scores alone hold a group together."""
        return [] if self._verify else [each for vector_id, each in near.items() if vector_id in members]


class _Links:
    """The links of contents, asked for in batches and kept for one page of the walk."""

    def __init__(self, vectors: VectorReader, min_score: float) -> None:
        self._vectors = vectors
        self._min_score = min_score
        self._known: dict[int, Sequence[VectorHit]] = {}

    def of(self, vector_id: int) -> Sequence[VectorHit]:
        """What a loaded content is linked to, itself included."""
        return self._known[vector_id]

    async def load(self, vector_ids: Sequence[int], buckets: Mapping[int, str]) -> None:
        """Ask for the links of those that are not known yet."""
        missing = [vector_id for vector_id in vector_ids if vector_id not in self._known]
        stored = await stored_vectors(self._vectors, missing) if missing else {}
        for bucket in sorted({buckets[vector_id] for vector_id in missing}):
            await self._search(bucket, {vector_id: stored[vector_id] for vector_id in missing
                                        if vector_id in stored and buckets[vector_id] == bucket})  # fmt: skip
        for vector_id in missing:
            # A vector that is gone, or not there yet, has no links.
            self._known.setdefault(vector_id, ())

    async def _search(self, bucket: str, queries: Mapping[int, Vector]) -> None:
        if not queries:
            return
        answers = await self._vectors.search(list(queries.values()), limit=LINKS_PER_CONTENT, bucket=bucket)
        for vector_id, hits in zip(queries, answers, strict=True):
            self._known[vector_id] = [near for near in hits if score(near.cosine) >= self._min_score]
