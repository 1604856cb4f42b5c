"""Made-up vectors, and what an index holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from stores.vectors.ports import Vector, VectorEntry, VectorIndex

DIMENSION: Final = 32
MODEL: Final = "sscd@1"


def vectors(count: int, seed: int = 0) -> list[Vector]:
    """Unit vectors in random directions."""
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return list(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def entries(ids: Sequence[int], bucket: str = "pictures", seed: int = 0) -> list[VectorEntry]:
    """An entry per id."""
    pairs = zip(ids, vectors(len(ids), seed), strict=True)
    return [VectorEntry(number, bucket, vector) for number, vector in pairs]


def random_ids(count: int, seed: int = 0) -> list[int]:
    """Ids as Twinlens draws them: 63 bits, in no order."""
    generator = np.random.default_rng(seed)
    return [int(number) for number in generator.integers(0, 2**63 - 1, count)]


async def all_ids(index: VectorIndex, bucket: str, *, after: int = -1, page: int = 1000) -> list[int]:
    """What `ids` yields, in one list; no page is empty or too large."""
    found: list[int] = []
    async for numbers in index.ids(bucket=bucket, after=after, page=page):
        assert 0 < len(numbers) <= page
        found.extend(numbers)
    return found
