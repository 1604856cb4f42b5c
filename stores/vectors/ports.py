"""What Twinlens needs of a vector index. Adapters: ``milvus``, ``memory``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
"""A unit vector, shape ``[dimension]``."""


class VectorHit(NamedTuple):
    """A vector near a query; ``cosine`` as the index computed it."""

    vector_id: int
    cosine: float


class VectorEntry(NamedTuple):
    """A vector to store: its id, the bucket that it can be filtered by, and the unit vector."""

    vector_id: int
    bucket: str
    vector: Vector


class VectorReader(Protocol):
    """Searching. Every method raises VectorIndexOutage when the index does not answer."""

    async def search(
        self,
        queries: Sequence[Vector],
        *,
        limit: int,
        bucket: str | None = None,
        among: Collection[int] | None = None,
        strong: bool = False,
    ) -> list[list[VectorHit]]:
        """The nearest vectors of each query by cosine, best first; ``limit`` ≤ ``MAX_WINDOW``.

        An index that is approximate may find others with another ``limit``, and in another order.

        ``among`` restricts to these ids. Without ``strong`` the last moments' changes may be missing, and what was
        just deleted may still be found: the caller joins with the catalog.
        """

    async def get(self, vector_ids: Sequence[int], *, strong: bool = True) -> Mapping[int, Vector]:
        """The stored vectors of those ids that exist.

        Without ``strong`` the last moments' changes may be missing, as in a search.
        """

    async def count(self, bucket: str | None = None) -> int:
        """The number of vectors (Strong)."""

    async def check(self) -> None:
        """Raises VectorIndexOutage unless the live collection answers."""

    async def model_name(self) -> str:
        """The model of the live collection; a mere id if it was made before there were fingerprints.

        Raises ConfigurationError when there is none.
        """


class VectorIndex(VectorReader, Protocol):
    """Searching and changing."""

    async def upsert(self, entries: Sequence[VectorEntry]) -> None:
        """Store vectors under their ids; those that are there are replaced. Safe to repeat."""

    async def delete(self, vector_ids: Sequence[int]) -> None:
        """Delete vectors by id; ids that are not there are no error."""

    def ids(self, *, bucket: str, after: int = -1, page: int = 1000) -> AsyncIterator[Sequence[int]]:
        """Pages of all ids of a bucket above ``after`` in rising order (Strong), in bounded memory."""

    async def ensure_collection(self, *, model_name: str, dimension: int) -> None:
        """Create the model's collection and point the alias at it, unless that is so. Safe to repeat.

        Raises ConfigurationError if the alias names another model's collection, or that of another file under this id,
        or one with another index.
        """

    async def flush(self) -> None:
        """Ask the index to seal and index what it holds only in memory (Milvus Lite searches that slowly)."""
