"""How many searches would be answered otherwise by the other model of a switch: a sample of them, in both collections.

The queries are the vectors that are stored for pictures in each of the collections. That is a search by an indexed
image, which every picture can be asked; and it costs no download, no decoding and no embedding, so that a thousand take
seconds, and burden nobody. The picture itself is left out of the answer: it would always come first.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.collection import MAX_VECTOR_ID
from schemas.model_switch import ModelSwitch, ServedModel
from schemas.records import ContentRecord, ContentState
from schemas.similarity import score
from stores.catalog.ports import Catalog
from stores.vectors.ports import VectorHit, VectorIndex
from streams.common.ports import Retry

AT_ONCE: Final = 50
TRIES: Final = 4
"""Pages per page that is wanted: some contents are pending, and some are not brought over yet."""


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """``changed`` of the searches have another first hit; ``copies`` have a copy first by one of the models."""

    searches: int = 0
    changed: int = 0
    copies: int = 0
    changed_copies: int = 0

    def plus(self, *, changed: bool, is_copy: bool) -> ModelComparison:
        """With one more search."""
        return ModelComparison(
            self.searches + 1,
            self.changed + changed,
            self.copies + is_copy,
            self.changed_copies + (changed and is_copy),
        )


@dataclass(frozen=True, slots=True)
class _Side:
    vectors: VectorIndex
    copy_threshold: float

    async def first_hits(self, contents: Sequence[ContentRecord], retry: Retry) -> dict[int, VectorHit | None]:
        """The nearest other vector in the same bucket of each content that has one here."""
        ids = [content.vector_id for content in contents]
        stored = await retry.run(lambda: self.vectors.get(ids, strong=False))
        known = [number for number in ids if number in stored]
        if not known:
            return {}
        bucket = contents[0].bucket
        answers = await retry.run(
            lambda: self.vectors.search([stored[number] for number in known], limit=2, bucket=bucket)
        )
        others = [[hit for hit in hits if hit.vector_id != number] for number, hits in zip(known, answers, strict=True)]
        return {number: hits[0] if hits else None for number, hits in zip(known, others, strict=True)}

    def is_copy(self, hit: VectorHit | None) -> bool:
        return hit is not None and score(hit.cosine) >= self.copy_threshold


async def compare_models(
    switch: ModelSwitch,
    thresholds: tuple[float, float],
    catalog: Catalog,
    vectors: VectorIndex,
    retry: Retry,
    buckets: Sequence[str],
    searches: int,
) -> ModelComparison:
    """Search for so many contents, or as many as there are in both collections. ``thresholds``: old and new model's.

    Raises Outage.
    """
    old, new = (
        _side(model, threshold, vectors) for model, threshold in zip((switch.old, switch.new), thresholds, strict=True)
    )
    found, seen = ModelComparison(), set[int]()
    for _ in range(TRIES * -(-searches // AT_ONCE)):
        bucket = secrets.choice(buckets)
        after = secrets.randbelow(MAX_VECTOR_ID) - 1
        page = await retry.run(lambda b=bucket, a=after: _sample(catalog, b, a))  # type: ignore[misc]
        fresh = [content for content in page if content.vector_id not in seen]
        seen |= {content.vector_id for content in fresh}
        if not fresh:
            continue
        before, now = await old.first_hits(fresh, retry), await new.first_hits(fresh, retry)
        for number in sorted(before.keys() & now.keys()):
            if found.searches == searches:
                return found
            one, other = before[number], now[number]
            changed = (one and one.vector_id) != (other and other.vector_id)
            found = found.plus(changed=changed, is_copy=old.is_copy(one) or new.is_copy(other))
    return found


def _side(model: ServedModel | None, copy_threshold: float, vectors: VectorIndex) -> _Side:
    assert model is not None
    return _Side(vectors.of(model.collection), copy_threshold)


async def _sample(catalog: Catalog, bucket: str, after: int) -> list[ContentRecord]:
    """Indexed contents from a random place on; from the beginning, where there are too few behind it."""
    page = await catalog.page_of_contents_by_vector(bucket, after=after, limit=AT_ONCE)
    if len(page) < AT_ONCE:
        page += await catalog.page_of_contents_by_vector(bucket, after=-1, limit=AT_ONCE - len(page))
    return [content for content in page if content.state is ContentState.INDEXED]
