"""Checks of what callers hand to a vector index: a wrong argument is a bug, and never reaches the server."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas.collection import BUCKET_MAX_LENGTH, MAX_VECTOR_ID, MAX_WINDOW
from stores.vectors.ports import Vector, VectorEntry


def check_limit(limit: int) -> None:
    """Raises ValueError unless 0 < limit ≤ MAX_WINDOW."""
    if not 0 < limit <= MAX_WINDOW:
        raise ValueError(f"limit {limit}: it must stay within 1 to {MAX_WINDOW}")


def checked_vector(vector: Vector, dimension: int) -> Vector:
    """The vector as contiguous float32. Raises ValueError for another shape or values that aren't finite."""
    array = np.ascontiguousarray(vector, dtype=np.float32)
    if array.shape != (dimension,):
        raise ValueError(f"a vector of shape {array.shape} where [{dimension}] is expected")
    if not np.isfinite(array).all():
        raise ValueError("a vector with values that are not finite")
    return array


def checked_id(vector_id: int) -> int:
    """The id as a plain int. Raises ValueError unless it is within 0 to MAX_VECTOR_ID."""
    number = int(vector_id)
    if not 0 <= number <= MAX_VECTOR_ID:
        raise ValueError(f"the vector id {number} is not within 0 to {MAX_VECTOR_ID}")
    return number


def filterable_bucket(bucket: str) -> str:
    """The bucket if it can be stored and written in a filter. Raises ValueError."""
    if not bucket or len(bucket.encode()) > BUCKET_MAX_LENGTH or '"' in bucket or "\\" in bucket:
        raise ValueError(f"{bucket!r} is no bucket's name")
    return bucket


def checked_entries(entries: Sequence[VectorEntry], dimension: int) -> list[VectorEntry]:
    """The entries, the last one per id. Raises ValueError.

    An id twice in one upsert would be stored twice by Milvus.
    """
    unique = {
        checked_id(entry.vector_id): VectorEntry(
            checked_id(entry.vector_id), filterable_bucket(entry.bucket), checked_vector(entry.vector, dimension)
        )
        for entry in entries
    }
    return list(unique.values())
