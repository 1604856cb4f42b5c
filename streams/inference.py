"""Decoding and embedding in threads, outside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from imaging.decoding import DecodedImage, Pixels, decode
from imaging.embedding import Embedder
from imaging.limits import DecodeLimits
from schemas.settings import LimitSettings
from stores.vectors.ports import Vector
from streams import metrics


class InferenceThreads:
    """Some pictures are decoded at a time, and one batch is embedded at a time (on all cores)."""

    def __init__(self, embedder: Embedder, limits: LimitSettings, *, decode_threads: int) -> None:
        self._embedder = embedder
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
        return self._embedder.model_name

    async def decode(self, data: bytes) -> DecodedImage:
        """The picture as the model takes it. Raises UndecodableImage."""
        spec = self._embedder.pixel_spec
        return await asyncio.get_running_loop().run_in_executor(self._decoders, decode, data, self._limits, spec)

    async def embed(self, pictures: Sequence[Pixels]) -> list[Vector]:
        """A unit vector for each picture, in order."""
        loop = asyncio.get_running_loop()
        with metrics.stage("embed"):
            return list(await loop.run_in_executor(self._inference, self._embedder.embed, pictures))

    def close(self) -> None:
        """Stop the threads."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._inference.shutdown(wait=False, cancel_futures=True)
