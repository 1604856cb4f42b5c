"""CPU work off the event loop: a bounded pool for decoding, and a queue that embeds what waits in small batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from imaging.decoding import Pixels
from imaging.embedding import Embedder
from imaging.errors import EmbeddingError
from query_api.errors import Overloaded
from query_api.metrics import Metrics

Vector = NDArray[np.float32]


class CpuPool:
    """Threads for decoding and thumbnails. What finds ``max_waiting`` jobs before it is refused at once."""

    def __init__(self, *, threads: int, max_waiting: int, metrics: Metrics) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="picture")
        self._max_jobs = threads + max_waiting
        self._jobs = 0
        self._metrics = metrics

    async def run[T](self, work: Callable[[], T]) -> T:
        """The result of ``work``, run in a thread. A job whose caller is cancelled before its turn never runs.

        Raises Overloaded.
        """
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


class _Job(NamedTuple):
    embedder: Embedder
    pixels: Pixels
    result: asyncio.Future[Vector]


class EmbeddingQueue:
    """Embeds one batch at a time; what arrives meanwhile makes up the next batch. Idle, nothing waits for company."""

    def __init__(self, *, batch: int, max_waiting: int, metrics: Metrics) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._waiting: deque[_Job] = deque()
        self._batch = batch
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._drain: asyncio.Task[None] | None = None

    async def embed(self, embedder: Embedder, pictures: Sequence[Pixels]) -> list[Vector]:
        """One unit vector per picture. Pictures whose caller is cancelled are dropped. Raises Overloaded."""
        if len(self._waiting) + len(pictures) > self._max_waiting:
            self._metrics.shed.labels("embed").inc()
            raise Overloaded("Too many pictures are waiting to be looked at; try again in a second.")
        loop = asyncio.get_running_loop()
        jobs = [_Job(embedder, pixels, loop.create_future()) for pixels in pictures]
        self._waiting.extend(jobs)
        if self._drain is None or self._drain.done():
            self._drain = loop.create_task(self._run())
        with self._metrics.stage("embed"):
            return list(await asyncio.gather(*[job.result for job in jobs]))

    async def _run(self) -> None:
        while batch := self._next_batch():
            self._metrics.embed_batch.observe(len(batch))
            await self._embed(batch)

    def _next_batch(self) -> list[_Job]:
        """Jobs for one model (a model change may leave two in the queue) that somebody still waits for."""
        batch: list[_Job] = []
        while self._waiting and len(batch) < self._batch:
            if batch and self._waiting[0].embedder is not batch[0].embedder:
                break
            job = self._waiting.popleft()
            if not job.result.done():
                batch.append(job)
        return batch

    async def _embed(self, batch: list[_Job]) -> None:
        work = asyncio.get_running_loop().run_in_executor(
            self._thread, batch[0].embedder.embed, [job.pixels for job in batch]
        )
        try:
            vectors = await work
        except EmbeddingError as error:
            await self._embed_singly(batch, error)
        except Exception as error:  # whoever waits gets it; the queue has to go on.
            for job in batch:
                _settle(job, error)
        else:
            for job, vector in zip(batch, vectors, strict=True):
                _settle(job, vector)

    async def _embed_singly(self, batch: list[_Job], error: EmbeddingError) -> None:
        """One bad picture must not fail its neighbours."""
        if len(batch) == 1:
            _settle(batch[0], error)
            return
        for job in batch:
            await self._embed([job])

    def close(self) -> None:
        """End the thread after what it is doing now."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _settle(job: _Job, outcome: Vector | Exception) -> None:
    if job.result.done():
        return
    if isinstance(outcome, Exception):
        job.result.set_exception(outcome)
    else:
        job.result.set_result(outcome)
