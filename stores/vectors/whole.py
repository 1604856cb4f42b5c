"""What an index without views answers about views."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from schemas.collection import ViewLayout
from stores.vectors.ports import Vector, VectorHit


class _Searches(Protocol):
    async def search(
        self,
        queries: Sequence[Vector],
        *,
        limit: int,
        bucket: str | None = None,
        among: Collection[int] | None = None,
        strong: bool = False,
    ) -> list[list[VectorHit]]: ...


class WholesOnly:
    """The part of VectorIndex that is about views, for an adapter of collections that know nothing of them."""

    async def layout(self) -> ViewLayout:
        """See VectorIndex."""
        return "none"

    async def incomplete(self, vector_ids: Collection[int]) -> set[int]:
        """See VectorIndex."""
        return set()

    async def search_all(
        self: _Searches,
        queries: Sequence[Vector],
        *,
        limit: int,
        bucket: str | None = None,
        among: Collection[int] | None = None,
        strong: bool = False,
    ) -> list[list[VectorHit]]:
        """See VectorReader."""
        return await self.search(queries, limit=limit, bucket=bucket, among=among, strong=strong)
