"""Working off a backlog: how fast, at whose expense, and with how much idle time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.counters import Counts
from bench.figures import Figure
from bench.installation import INGEST, Installation
from bench.running import Running, Spent, Usage, wait
from tests.harness.stack.minio import MAIN_ROUTE

POLL_S = 0.2
_SLOWEST = 2.0
"""Pieces a second below which a backlog counts as stuck."""
_STUCK_S = 60.0
_ANNOUNCED_S = 0.5


@dataclass(frozen=True, slots=True)
class Drain:
    """How ``total`` pieces of work were done.

    ``looks``: the clock and how many pieces were done. ``begun`` is at the last look at which nothing was done yet,
    ``first`` at the first at which something was, ``last`` at the one that saw the last piece done, and ``ended`` when
    nothing was pending any more: what was used from ``begun`` to ``ended`` is the work's.
    """

    total: int
    looks: Sequence[tuple[float, int]]
    begun: Usage
    first: Usage
    last: Usage
    ended: Usage
    counted_before: Counts
    counted: Counts

    @property
    def per_second(self) -> float:
        """Pieces a second from the first look with progress to the one that saw the last piece done."""
        return rate(self.looks)

    @property
    def spent(self) -> Spent:
        """All that the work took."""
        return Spent.between(self.begun, self.ended)

    @property
    def spent_in_backlog(self) -> Spent:
        """What was used, and left unused, while there was certainly something to do."""
        return Spent.between(self.first, self.last)

    @property
    def counts(self) -> Counts:
        """What the servers counted meanwhile."""
        return Counts.between(self.counted_before, self.counted)

    @property
    def series(self) -> dict[str, list[float]]:
        """For a plot: seconds since ``begun``, and pieces done."""
        looks = [(at - self.begun.at, done) for at, done in self.looks if at >= self.begun.at]
        return {"seconds": [round(at, 2) for at, _ in looks], "done": [float(done) for _, done in looks]}


def rate(looks: Sequence[tuple[float, int]]) -> float:
    """Pieces a second from the first look with progress on, for nobody knows when the work before it began.

    NaN where one look saw all of it.
    """
    seen = [(at, done) for at, done in looks if done > 0]
    most = max((done for _, done in seen), default=0)
    (begun, before), (ended, _) = seen[0], next(look for look in seen if look[1] == most)
    return (most - before) / (ended - begun) if ended > begun else math.nan


@contextmanager
def unattended(installation: Installation, count: int) -> Iterator[None]:
    """Within the block so many objects are put or deleted while no ingest worker runs.

    It ends when every notification target has announced all of them: the one with a folder does so late.
    """
    running = installation.running
    installation.stop(INGEST)
    wanted = running.events() + count * len(MAIN_ROUTE.arns)
    yield
    wait(lambda: running.events() >= wanted, "everything is announced", every_s=_ANNOUNCED_S, at_most_s=_STUCK_S)


def drain(installation: Installation, done: Callable[[], int], total: int) -> Drain:
    """Start the ingest worker on what lies there, until ``done`` says ``total`` and nothing is pending.

    It is the one that is stopped to make a backlog: the index workers have nothing to do before it begins, and its own
    start, until the first piece is done, isn't counted.
    """
    counted = installation.running.counts()
    installation.start(INGEST)
    return watched(installation.running, done, total, counted)


def watched(running: Running, done: Callable[[], int], total: int, counted: Counts) -> Drain:
    """Look on until ``done`` says ``total`` and nothing is pending. Raises TimeoutError."""
    looks: list[tuple[float, int]] = []
    begun, first = running.usage(), None
    for look in _looks(done, total):
        looks.append((time.perf_counter(), look))
        if look == 0:
            begun = running.usage()
        elif first is None:
            first = running.usage()
    last = running.usage()
    wait(lambda: running.catalog.pending() == 0, "nothing is pending", every_s=POLL_S)
    return Drain(total, looks, begun, first or last, last, running.usage(), counted, running.counts())


def per_piece(drain: Drain, piece: str) -> Iterator[Figure]:
    """CPU by process, statements by kind, messages by topic and S3 calls by name, of one piece."""
    total, counts = drain.total, drain.counts
    yield from cpu_per_piece(drain.spent, total, piece)
    for kind, count in counts.statements.most_common():
        yield Figure(f"sql {kind}", count / total, "", of=piece)
    for topic, count in counts.messages.most_common():
        yield Figure(f"messages in {topic}", count / total, "", of=piece)
    for call, count in counts.s3_calls.most_common():
        yield Figure(f"s3 {call}", count / total, "", of=piece)


def cpu_per_piece(spent: Spent, total: int, piece: str) -> Iterator[Figure]:
    """Milliseconds of CPU that one of so many pieces took, by process."""
    for name, seconds in spent.cpu_s.items():
        yield Figure(f"cpu {name}", 1000 * seconds / total, "ms", of=piece)


def _looks(done: Callable[[], int], total: int) -> Iterator[int]:
    deadline = time.perf_counter() + _STUCK_S + total / _SLOWEST
    while (look := done()) < total:
        yield look
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{look} of {total} are done, and time is up")
        time.sleep(POLL_S)
    yield look
