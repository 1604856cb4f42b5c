"""Local features of indexed objects and of pictures that are searched for, and comparing them."""

from __future__ import annotations

from typing import Final

from imaging.comparing import Comparable, comparable, compared
from imaging.limits import DecodeLimits
from imaging.local_features import CLOSE, QUICK, Closeness
from query_api.pictures.derived import Derived, Workplace
from query_api.pictures.verification import Verified
from schemas.records import ImageRecord

_BY_SIDE: Final = {look.side: look for look in (QUICK, CLOSE)}


class LocalFeaturesCache:
    """The cache. ``max_bytes`` bounds the features that it keeps."""

    def __init__(self, workplace: Workplace, limits: DecodeLimits, *, max_bytes: int) -> None:
        self._workplace = workplace
        self._features: Derived[Comparable] = Derived(
            lambda data, side: comparable(data, limits, _BY_SIDE[side]),
            lambda features: features.nbytes,
            workplace,
            stage="features",
            lookups=workplace.metrics.features_cache,
            max_bytes=max_bytes,
        )

    async def of_image(self, image: ImageRecord, look: Closeness, client: str) -> Comparable | None:
        """As ``Derived.of_image``, but None for an object that holds other bytes by now."""
        made = await self._features.of_image(image, look.side, client)
        return made.value if made is not None and made.sha256 == image.sha256 else None

    async def of_bytes(self, data: bytes, sha256: str, look: Closeness) -> Comparable:
        """The features of a picture that is held already. Raises UndecodableImage and Overloaded."""
        return await self._features.of_bytes(data, sha256, look.side)

    async def compare(self, query: Comparable, other: Comparable) -> Verified:
        """How two pictures lie within each other. Raises Overloaded."""
        return Verified(*await self._workplace.pool.run("match", lambda: compared(query, other)))
