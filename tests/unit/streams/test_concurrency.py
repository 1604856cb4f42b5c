"""Steps side by side, and the one that fails in a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from schemas.errors import CatalogOutage
from streams.common.concurrency import halving, side_by_side


async def test_results_come_in_order_and_no_more_than_the_limit_are_at_work() -> None:
    """Ten steps with a limit of three: three at work at the most, results as the steps were given."""
    at_work = most = 0

    async def step(number: int) -> int:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        for _ in range(10 - number):
            await asyncio.sleep(0)
        at_work -= 1
        return number

    assert await side_by_side((step(number) for number in range(10)), limit=3) == list(range(10))
    assert most == 3


async def test_the_first_failure_ends_the_others() -> None:
    """The failure itself is raised, and nothing goes on behind the caller's back."""
    ended = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await side_by_side([forever(), failing()], limit=2)
    assert ended.is_set()


@pytest.mark.parametrize("bad", [[], [0], [7], [3, 4], [0, 1, 2, 3, 4, 5, 6, 7]])
async def test_what_fails_is_found_by_halves_and_the_others_are_done(bad: list[int]) -> None:
    """Each bad item comes back alone with its error; every other one is done."""
    done: set[int] = set()

    async def step(part: Sequence[int]) -> None:
        if set(part) & set(bad):
            raise ValueError("a bug")
        done.update(part)

    failed = await halving(range(8), step)
    assert [item for item, _ in failed] == bad
    assert done == set(range(8)) - set(bad)


async def test_an_outage_is_not_halved() -> None:
    """An outage is nobody's bug: the whole batch waits it out."""
    asked: list[int] = []

    async def step(part: Sequence[int]) -> None:
        asked.append(len(part))
        raise CatalogOutage("away")

    with pytest.raises(CatalogOutage):
        await halving(range(8), step)
    assert asked == [8]


async def test_an_empty_batch_asks_nobody() -> None:
    """No step is made for nothing."""

    async def step(_part: Sequence[int]) -> None:
        raise AssertionError("asked")

    assert await halving([], step) == []
