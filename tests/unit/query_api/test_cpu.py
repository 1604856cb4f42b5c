"""The bounded pool and the queue that embeds in small batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from imaging.decoding import Pixels
from imaging.embedding import Vectors
from imaging.errors import EmbeddingError
from imaging.model_spec import PixelSpec
from query_api.errors import Overloaded
from query_api.metrics import Metrics
from query_api.sharing.cpu import CpuPool, EmbeddingQueue


class _Gated:
    """An embedder that waits to be let on, and remembers its batches. A picture of all 255 breaks it."""

    model_id, model_name, dimension, pixel_spec = "gated", "gated@1", 4, PixelSpec(width=16, height=16)

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.started = threading.Event()
        self.batches: list[int] = []

    def embed(self, batch: Sequence[Pixels]) -> Vectors:
        """The first pixel's values."""
        self.started.set()
        assert self.go_on.wait(10)
        self.batches.append(len(batch))
        if any(int(pixels[0, 0, 0]) == 255 for pixels in batch):
            raise EmbeddingError("broken")
        return np.array([[pixels[0, 0, 0], 0, 0, 1] for pixels in batch], np.float32)


def _pixels(value: int) -> Pixels:
    return np.full((16, 16, 3), value, np.uint8)


async def _reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in a thread
            await asyncio.sleep(0.001)


async def test_what_waits_is_embedded_together() -> None:
    """While one run is busy, arrivals gather and go together, up to the batch size; each gets its own vector."""
    embedder, queue = _Gated(), EmbeddingQueue(batch=4, max_waiting=50, metrics=Metrics())
    tasks = [asyncio.create_task(queue.embed(embedder, [_pixels(0)]))]
    await _reached(embedder.started.is_set)
    tasks += [asyncio.create_task(queue.embed(embedder, [_pixels(n)])) for n in range(1, 8)]
    await _reached(lambda: queue.waiting == 7)
    embedder.go_on.set()
    results = await asyncio.gather(*tasks)
    assert embedder.batches == [1, 4, 3]
    assert [int(vector[0]) for [vector] in results] == list(range(8))


async def test_cancelled_callers_cost_nothing() -> None:
    """A picture whose caller has gone before its turn is never embedded."""
    embedder, queue = _Gated(), EmbeddingQueue(batch=4, max_waiting=50, metrics=Metrics())
    first = asyncio.create_task(queue.embed(embedder, [_pixels(0)]))
    await _reached(embedder.started.is_set)
    gone = [asyncio.create_task(queue.embed(embedder, [_pixels(n)])) for n in range(1, 6)]
    await _reached(lambda: queue.waiting == 5)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    embedder.go_on.set()
    await first
    assert len(await queue.embed(embedder, [_pixels(6)])) == 1
    assert embedder.batches == [1, 1]


async def test_queue_sheds_and_recovers() -> None:
    """Beyond `max_waiting` pictures are refused at once; when the queue is empty again they are taken."""
    embedder, queue = _Gated(), EmbeddingQueue(batch=2, max_waiting=2, metrics=Metrics())
    first = asyncio.create_task(queue.embed(embedder, [_pixels(0)]))
    await _reached(embedder.started.is_set)
    waiting = asyncio.create_task(queue.embed(embedder, [_pixels(1), _pixels(2)]))
    await _reached(lambda: queue.waiting == 2)
    with pytest.raises(Overloaded):
        await queue.embed(embedder, [_pixels(3)])
    embedder.go_on.set()
    await asyncio.gather(first, waiting)
    assert len(await queue.embed(embedder, [_pixels(4)])) == 1


async def test_one_bad_picture_does_not_fail_its_neighbours() -> None:
    """When a batch can't be embedded its pictures are tried one by one, and only the bad one fails."""
    embedder, queue = _Gated(), EmbeddingQueue(batch=8, max_waiting=50, metrics=Metrics())
    first = asyncio.create_task(queue.embed(embedder, [_pixels(0)]))
    await _reached(embedder.started.is_set)
    tasks = [asyncio.create_task(queue.embed(embedder, [_pixels(n)])) for n in (1, 255, 2)]
    await _reached(lambda: queue.waiting == 3)
    embedder.go_on.set()
    await first
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, EmbeddingError) for outcome in outcomes] == [False, True, False]


async def test_pool_is_bounded_and_drops_what_nobody_waits_for() -> None:
    """The pool refuses what is too much, never runs a job that was cancelled before its turn, and recovers."""
    pool = CpuPool(threads=1, max_waiting=1, metrics=Metrics())
    go_on, ran = threading.Event(), []
    first = asyncio.create_task(pool.run("decode", lambda: go_on.wait(10)))
    await asyncio.sleep(0)
    second = asyncio.create_task(pool.run("decode", lambda: ran.append("second")))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await pool.run("decode", lambda: ran.append("third"))
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await _reached(lambda: pool._jobs == 1)
    await asyncio.gather(asyncio.create_task(pool.run("decode", lambda: ran.append("fourth"))), _set(go_on), first)
    assert ran == ["fourth"]


async def _set(event: threading.Event) -> None:
    event.set()
