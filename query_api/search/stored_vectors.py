"""Vectors that are stored, read quickly."""

from __future__ import annotations

from collections.abc import Sequence

from stores.vectors.ports import Vector, VectorReader


async def stored_vectors(vectors: VectorReader, vector_ids: Sequence[int]) -> dict[int, Vector]:
    """The vectors of those ids that exist. Raises VectorIndexOutage.

    A vector never changes under its id, so what a quick look finds is right; only what it misses, since it may have
    been stored a moment ago, is worth the 0.2 s that a Strong look takes in Milvus.
    """
    found = dict(await vectors.get(vector_ids, strong=False))
    missing = [vector_id for vector_id in vector_ids if vector_id not in found]
    if missing:
        found |= await vectors.get(missing)
    return found
