"""Questions that come while one is being answered are answered together, by one call; alone, none waits for company."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple


class _Job[Q, A](NamedTuple):
    question: Q
    answer: asyncio.Future[A]


class Gathering[K, Q, A]:
    """One call at a time for each key, which can be hashed; what arrives meanwhile makes up the next call.

    A call has at most ``most`` questions.
    ``call`` takes a key and questions, and gives one answer for each in order; an answer that is an exception fails
    its caller alone, one that ``call`` raises fails all. A question whose caller is cancelled before its turn is never
    asked; a call that nobody waits for any more is cancelled.
    """

    def __init__(self, call: Callable[[K, Sequence[Q]], Awaitable[Sequence[A | Exception]]], *, most: int) -> None:
        self._call = call
        self._most = most
        self._waiting: dict[K, deque[_Job[Q, A]]] = {}
        self._drains: dict[K, asyncio.Task[None]] = {}

    @property
    def waiting(self) -> int:
        """Questions whose turn has not come."""
        return sum(map(len, self._waiting.values()))

    async def ask(self, key: K, question: Q) -> A:
        """The answer to one question."""
        loop = asyncio.get_running_loop()
        job = _Job[Q, A](question, loop.create_future())
        self._waiting.setdefault(key, deque()).append(job)
        if key not in self._drains:
            self._drains[key] = loop.create_task(self._drain(key))
        return await job.answer

    async def _drain(self, key: K) -> None:
        while batch := self._next_batch(self._waiting[key]):
            await self._answer(key, batch)
        del self._waiting[key], self._drains[key]

    def _next_batch(self, waiting: deque[_Job[Q, A]]) -> list[_Job[Q, A]]:
        """Jobs that somebody still waits for."""
        batch: list[_Job[Q, A]] = []
        while waiting and len(batch) < self._most:
            job = waiting.popleft()
            if not job.answer.done():
                batch.append(job)
        return batch

    async def _answer(self, key: K, batch: Sequence[_Job[Q, A]]) -> None:
        call = asyncio.ensure_future(self._call(key, [job.question for job in batch]))

        def stop_if_nobody_waits(_: asyncio.Future[A]) -> None:
            if all(job.answer.done() for job in batch):
                call.cancel()

        for job in batch:
            job.answer.add_done_callback(stop_if_nobody_waits)
        await asyncio.wait([call])
        if call.cancelled():
            _settle(batch, [asyncio.CancelledError()] * len(batch))
        elif (error := call.exception()) is not None:
            _settle(batch, [error] * len(batch))
        else:
            _settle(batch, call.result())


def _settle[Q, A](batch: Sequence[_Job[Q, A]], answers: Sequence[A | BaseException]) -> None:
    for job, answer in zip(batch, answers, strict=True):
        if job.answer.done():
            continue
        if isinstance(answer, BaseException):
            job.answer.set_exception(answer)
        else:
            job.answer.set_result(answer)
