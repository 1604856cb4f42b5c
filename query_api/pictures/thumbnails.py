"""Thumbnails of indexed objects."""

from __future__ import annotations

from imaging.limits import DecodeLimits
from imaging.thumbnails import thumbnail
from query_api.errors import Unavailable
from query_api.pictures.derived import Derived, Made, Workplace
from schemas.errors import ObjectTooLarge
from schemas.records import ImageRecord

SIZES = (160, 320, 640)
"""Longest sides that can be asked for, in pixels; any other would let clients fill the cache with variants."""


class Thumbnails:
    """The cache. ``max_bytes`` bounds the JPEGs that it keeps."""

    def __init__(self, workplace: Workplace, limits: DecodeLimits, *, max_bytes: int) -> None:
        self._jpegs: Derived[bytes] = Derived(
            lambda data, side: thumbnail(data, limits, side),
            len,
            workplace,
            stage="thumbnail",
            lookups=workplace.metrics.thumbnail_cache,
            max_bytes=max_bytes,
        )

    @property
    def nbytes(self) -> float:
        """What the kept JPEGs take."""
        return self._jpegs.nbytes

    async def get(self, image: ImageRecord, side: int, client: str) -> Made[bytes] | None:
        """The JPEG, as ``Derived.of_image`` has it, but for Unavailable in the place of ObjectTooLarge."""
        try:
            return await self._jpegs.of_image(image, side, client)
        except ObjectTooLarge as error:
            raise Unavailable("The file is being replaced at this moment.", dependency="objects") from error
