"""CPU work off the event loop: a bounded pool for decoding, and a queue that embeds what waits in small batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from imaging.decoding import Pixels
from imaging.embedding import Embedder
from imaging.errors import EmbeddingError
from query_api.errors import Overloaded
from query_api.metrics import Metrics
from query_api.sharing.gathering import Gathering

Vector = NDArray[np.float32]


class CpuPool:
    """Threads for decoding and thumbnails. What finds ``max_waiting`` jobs before it is refused at once."""

    def __init__(self, *, threads: int, max_waiting: int, metrics: Metrics) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="picture")
        self._max_jobs = threads + max_waiting
        self._jobs = 0
        self._metrics = metrics

    async def run[T](self, stage: str, work: Callable[[], T]) -> T:
        """The result of ``work``, run in a thread. A job whose caller is cancelled before its turn never runs.

        ``stage`` names it in the metrics; its wait for a thread is part of it. Raises Overloaded.
        """
        with self._metrics.stage(stage):
            return await self._run(work)

    async def _run[T](self, work: Callable[[], T]) -> T:
        if self._jobs >= self._max_jobs:
            self._metrics.shed.labels("decode").inc()
            raise Overloaded("Too many pictures are waiting to be decoded; try again in a second.")
        self._jobs += 1
        future = self._threads.submit(work)
        # A running job can't be stopped: it counts until it really ends, whoever still waits for it.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        return await asyncio.wrap_future(future)

    def _done(self) -> None:
        self._jobs -= 1

    def close(self) -> None:
        """End the threads after what they are doing now."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class EmbeddingQueue:
    """Embeds one batch at a time; what arrives meanwhile makes up the next batch. Idle, nothing waits for company."""

    def __init__(self, *, batch: int, max_waiting: int, metrics: Metrics) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._pictures = Gathering(self._embed, most=batch)
        self._max_waiting = max_waiting
        self._metrics = metrics

    @property
    def waiting(self) -> int:
        """Pictures whose turn has not come."""
        return self._pictures.waiting

    async def embed(self, embedder: Embedder, pictures: Sequence[Pixels]) -> list[Vector]:
        """One unit vector per picture. Pictures whose caller is cancelled are dropped. Raises Overloaded."""
        if self.waiting + len(pictures) > self._max_waiting:
            self._metrics.shed.labels("embed").inc()
            raise Overloaded("Too many pictures are waiting to be looked at; try again in a second.")
        with self._metrics.stage("embed"):
            return await asyncio.gather(*[self._pictures.ask(embedder, pixels) for pixels in pictures])

    async def _embed(self, embedder: Embedder, pictures: Sequence[Pixels]) -> Sequence[Vector | EmbeddingError]:
        self._metrics.embed_batch.observe(len(pictures))
        try:
            vectors = await asyncio.get_running_loop().run_in_executor(self._thread, embedder.embed, pictures)
        except EmbeddingError as error:
            if len(pictures) == 1:
                return [error]
            # One bad picture must not fail its neighbours.
            return [outcome for pixels in pictures for outcome in await self._embed(embedder, [pixels])]
        return list(vectors)

    def close(self) -> None:
        """End the thread after what it is doing now."""
        self._thread.shutdown(wait=False, cancel_futures=True)
