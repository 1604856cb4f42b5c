"""What Twinlens needs of a vector index. Adapters: ``milvus``, ``memory``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.collection import ViewLayout

Vector = NDArray[np.float32]
"""A unit vector, shape ``[dimension]``."""


class VectorHit(NamedTuple):
    """A content near a query; ``cosine`` as the index computed it.

    Where that is of a view of the content, ``whole`` is that of the whole: -1 if it was not among the nearest.
    """

    vector_id: int
    cosine: float
    whole: float | None = None

    @property
    def cosine_of_whole(self) -> float:
        """That of the whole, whatever is nearest."""
        return self.cosine if self.whole is None else self.whole


class VectorEntry(NamedTuple):
    """A vector to store: its id, the bucket that it can be filtered by, the unit vector, and those of the views."""

    vector_id: int
    bucket: str
    vector: Vector
    views: Sequence[Vector] = ()


class LiveCollection(NamedTuple):
    """The collection that the alias names, and the model that made it (a mere id: before there were fingerprints)."""

    name: str
    model_name: str


class VectorReader(Protocol):
    """Searching the live collection, or one that was chosen by :meth:`of`.

    A collection may have views of its contents beside the whole: ``search_all`` finds a content by either, everything
    else is about the whole unless it says otherwise.

    Every method raises VectorIndexOutage when the index does not answer.
    """

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

    async def search_all(
        self,
        queries: Sequence[Vector],
        *,
        limit: int,
        bucket: str | None = None,
        among: Collection[int] | None = None,
        strong: bool = False,
    ) -> list[list[VectorHit]]:
        """As ``search``, by the whole or by whichever view is nearest: each content once."""

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

    async def live(self) -> LiveCollection:
        """What the alias names right now. Raises ConfigurationError when it names nothing."""

    def of(self, collection: str) -> VectorReader:
        """The same for one collection, whatever the alias names: where vectors of two models must not be mixed."""


class VectorIndex(VectorReader, Protocol):
    """Searching and changing."""

    async def layout(self) -> ViewLayout:
        """Which views of each content the collection has; what was asked a moment ago is remembered."""

    async def upsert(self, entries: Sequence[VectorEntry]) -> None:
        """Store vectors under their ids, the views first; those that are there are replaced. Safe to repeat.

        Views are stored only where an entry has as many as the collection: others were made for another layout, and
        ``incomplete`` tells of them.
        """

    async def delete(self, vector_ids: Sequence[int]) -> None:
        """Delete vectors and views by id; ids that are not there are no error."""

    def ids(self, *, bucket: str, after: int = -1, page: int = 1000) -> AsyncIterator[Sequence[int]]:
        """Pages of all ids of a bucket above ``after`` in rising order (Strong), in bounded memory.

        Those of views too, also where the whole is not there.
        """

    async def known(self, vector_ids: Collection[int]) -> set[int]:
        """Those of the ids under which anything is stored, the whole or a view (Strong)."""

    async def incomplete(self, vector_ids: Collection[int]) -> set[int]:
        """Those of the ids that lack the whole or a view (Strong). None, unasked, where the collection has no views."""

    async def has(self, collection: str) -> bool:
        """Whether there is a collection of this name."""

    async def ensure_collection(self, *, model_name: str, dimension: int) -> None:
        """Create the model's collection and point the alias at it, unless that is so. Safe to repeat.

        Raises ConfigurationError if the alias names another model's collection, or that of another file under this id,
        or one with another index.
        """

    def of(self, collection: str) -> VectorIndex:
        """See VectorReader."""

    async def create(self, collection: str, *, model_name: str, dimension: int) -> None:
        """Create a collection and load it, beside the live one. Safe to repeat. Raises ConfigurationError as above."""

    async def make_live(self, collection: str) -> None:
        """Have the alias name this collection, at once for everybody. Safe to repeat."""

    async def drop(self, collection: str) -> None:
        """Drop a collection that is not the live one; one that is not there is no error. Raises ConfigurationError."""

    async def flush(self) -> None:
        """Ask the index to seal and index what it holds only in memory (Milvus Lite searches that slowly)."""
