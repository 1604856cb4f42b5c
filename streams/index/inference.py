"""Decoding and embedding in threads, outside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from typing import Final

from imaging.comparing import Comparable, comparable, verified
from imaging.decoding import DecodedImage, Pixels
from imaging.digest import digest_of
from imaging.embedding import Embedder
from imaging.limits import DecodeLimits
from imaging.model_spec import PixelSpec
from imaging.views import decode_content
from schemas.collection import ViewLayout
from schemas.settings import LimitSettings
from stores.vectors.ports import Vector
from streams.common import metrics

EMBEDDED_AT_ONCE: Final = 32
"""Pictures that are embedded before another batch, or the end of the process, has its turn."""


class InferenceThreads:
    """Some pictures are decoded at a time, and one batch is embedded at a time (on all cores)."""

    def __init__(
        self, embedder: Embedder, limits: LimitSettings, *, decode_threads: int, mark: str | None = None
    ) -> None:
        """``mark``: what contents are marked with that have these vectors, if not with the model's name."""
        self._embedder = embedder
        self._mark = mark or embedder.model_name
        self._limits = DecodeLimits(
            max_bytes=limits.max_object_bytes,
            max_pixels=limits.max_pixels,
            max_side=limits.max_side,
            max_memory=limits.max_decode_memory,
        )
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self._inference = ThreadPoolExecutor(1, thread_name_prefix="embed")

    @property
    def model_name(self) -> str:
        """Names the vectors."""
        return self._mark

    @property
    def pixel_spec(self) -> PixelSpec:
        """What a picture is made into."""
        return self._embedder.pixel_spec

    async def decode(self, data: bytes, layout: ViewLayout) -> DecodedImage:
        """The picture, and its views, as the model takes them. Raises UndecodableImage."""
        spec, loop = self._embedder.pixel_spec, asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, decode_content, data, self._limits, spec, layout)

    async def embed(self, pictures: Sequence[Pixels]) -> list[Vector]:
        """A unit vector for each picture, in order."""
        loop = asyncio.get_running_loop()
        vectors: list[Vector] = []
        with metrics.stage("embed"):
            for part in batched(pictures, EMBEDDED_AT_ONCE):
                vectors.extend(await loop.run_in_executor(self._inference, self._embedder.embed, part))
        return vectors

    async def comparable(self, data: bytes, sha256: str) -> Comparable | None:
        """What is kept of a picture to compare it; None for other bytes. Raises UndecodableImage."""

        def look() -> Comparable | None:
            return comparable(data, self._limits) if digest_of(data).sha256 == sha256 else None

        return await asyncio.get_running_loop().run_in_executor(self._decoders, look)

    async def is_copy(self, one: Comparable, other: Comparable) -> bool:
        """Whether one is a copy of the other, or of a part of it."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._decoders, verified, one, other)
        return found is not None and found.is_copy

    def close(self) -> None:
        """Stop the threads."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._inference.shutdown(wait=False, cancel_futures=True)
