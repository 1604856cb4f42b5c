"""Watching dependencies while there is nothing to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from schemas.errors import BucketOutage, ObjectStoreOutage
from streams.common.backoff import Check, Outages
from streams.process import loops as background
from streams.process.loops import watch_dependencies


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits and pauses in hundredths of a second."""
    monkeypatch.setattr(background, "CHECK_TIMEOUT_S", 0.01)
    monkeypatch.setattr(background, "WATCH_OBJECTS_S", 0.0)
    monkeypatch.setattr(background, "WATCH_INTERVAL_S", 0.0)


@contextmanager
def watching(outages: Outages, **checks: Check) -> Iterator[None]:
    """Watch while the block runs."""
    task = asyncio.create_task(watch_dependencies(checks, outages))
    yield
    task.cancel()


class Hanging:
    """A check that hangs so many times, and then answers."""

    def __init__(self, times: int) -> None:
        self._left = times
        self.answered = asyncio.Event()

    async def __call__(self) -> None:
        """The check."""
        if self._left > 0:
            self._left -= 1
            await asyncio.Event().wait()
        self.answered.set()


@pytest.mark.parametrize(("hangs", "outages_seen"), [(1, 0), (2, 1), (3, 1)])
async def test_a_dependency_that_never_answers_is_down_after_two_checks(hangs: int, outages_seen: int) -> None:
    """The first late one may be late by our own fault; the outage ends with the first answer."""
    outages, check = Outages(), Hanging(hangs)
    with watching(outages, objects=check):
        async with asyncio.timeout(10):
            await check.answered.wait()
            await asyncio.sleep(0)
    assert outages.ended["objects"] == outages_seen
    assert outages.down_since == {}


async def test_a_bucket_is_down_only_if_the_server_says_so() -> None:
    """While the server is away nothing is known about its buckets."""
    outages = Outages()
    asked = asyncio.Event()
    errors: list[Exception] = [ObjectStoreOutage("away"), BucketOutage("gone", bucket="b")]

    async def check() -> None:
        if not errors:
            asked.set()
            await asyncio.Event().wait()
        error = errors.pop(0)
        assert outages.down_since == {}
        raise error

    with watching(outages, **{"bucket:b": check}):
        async with asyncio.timeout(10):
            await asked.wait()
    assert set(outages.down_since) == {"bucket:b"}
