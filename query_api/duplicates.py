"""Groups of pictures that are the same: by their bytes, or by how they look.

Both walk the catalog in a fixed order and hold one group and one page of contents at a time, never the catalog; a
position in that order is all that is needed to go on. `twinlens duplicates` uses the same two generators.

Near duplicates: two indexed contents of one bucket are linked when their score is at least ``min_score``; a group is
what hangs together by links. It is reported by its member with the lowest vector id, so each group comes once, wherever
the walk begins and in however many pages. Only the ``LINKS_PER_CONTENT`` nearest of a content are looked at, and a
group is followed up to ``MAX_GROUP`` contents; beyond that it is reported as truncated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from query_api.stored_vectors import stored_vectors
from schemas.records import ContentId, ContentRecord
from schemas.similarity import score
from stores.catalog.reading.ports import CatalogReader, DuplicateReader, FoundContent, HitReader, ImageFilter
from stores.vectors.ports import Vector, VectorHit, VectorReader

LINKS_PER_CONTENT = 50
MAX_GROUP = 500
_EXACT_PAGE = 100
_NEAR_PAGE = 64
_A_GROUP = 2


@dataclass(frozen=True, slots=True)
class Group:
    """Contents (one for an exact group) with their images. ``score`` is that of the weakest link, 0 to 100."""

    contents: Sequence[FoundContent]
    score: float
    truncated: bool = False

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
    catalog: CatalogReader, vectors: VectorReader, *, bucket: str | None, min_score: float, after: int = -1
) -> AsyncIterator[NearStep]:
    """Groups of different pictures that look the same, in the order of vector ids. Raises Outage."""
    position = after
    while page := await catalog.contents_after(position, bucket=bucket, limit=_NEAR_PAGE):
        links = _Links(vectors, min_score)
        await links.load([content.vector_id for content in page], _by_bucket(page))
        for content in page:
            yield NearStep(await _group_led_by(content, links, catalog), content.vector_id)
        position = page[-1].vector_id


def _by_bucket(page: Sequence[ContentRecord]) -> dict[int, str]:
    return {content.vector_id: content.bucket for content in page}


async def _group_led_by(first: ContentRecord, links: _Links, catalog: HitReader) -> Group | None:
    """The group of a content if it is the one to report it."""
    members, weakest, truncated = {first.vector_id}, 100.0, False
    frontier = [first.vector_id]
    while frontier:
        await links.load(frontier, dict.fromkeys(frontier, first.bucket))
        reached: set[int] = set()
        for vector_id in frontier:
            for near in links.of(vector_id):
                weakest = min(weakest, score(near.cosine)) if near.vector_id != vector_id else weakest
                reached.add(near.vector_id)
        if min(reached, default=first.vector_id) < first.vector_id:
            return None
        frontier = sorted(reached - members)[: MAX_GROUP - len(members)]
        truncated = truncated or len(reached | members) > MAX_GROUP
        members |= set(frontier)
    if len(members) == 1:
        return None
    return await _known(members, weakest, truncated, first, catalog)


async def _known(
    members: set[int], weakest: float, truncated: bool, first: ContentRecord, catalog: HitReader
) -> Group | None:
    """The group with its images, without what the catalog does not carry any more."""
    found = await catalog.by_vector(members, ImageFilter(bucket=first.bucket))
    if len(found) < _A_GROUP:
        return None
    ordered = [found[vector_id] for vector_id in sorted(found)]
    return Group(ordered, weakest, truncated or any(each.total > len(each.images) for each in ordered))


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
