"""Joining two ordered sequences page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ObjectStoreOutage
from streams.repair.joining import Reopened, join

Positions = st.lists(st.integers(min_value=0, max_value=60), unique=True).map(sorted)


async def joined(
    left: Sequence[int], right: Sequence[int], page: int
) -> tuple[list[int], list[int], list[int], list[int | None], int]:
    """What is on both sides, left only and right only, the positions, and the longest page."""
    rest = list(left)

    async def lefts() -> list[tuple[int, int]]:
        taken, rest[:] = rest[:page], rest[page:]
        return [(number, number) for number in taken]

    async def rights(after: int, limit: int) -> list[tuple[int, int]]:
        return [(number, number) for number in right if number > after][:limit]

    both: list[int] = []
    only_left: list[int] = []
    only_right: list[int] = []
    positions: list[int | None] = []
    longest = 0
    async for part in join(lefts, rights, after=-1, page=page):
        both += [number for number, _ in part.pairs]
        only_left += part.left_only
        only_right += part.right_only
        positions.append(part.position)
        longest = max(longest, len(part.pairs) + len(part.right_only))
    return both, only_left, only_right, positions, longest


@given(left=Positions, right=Positions, page=st.integers(min_value=1, max_value=7))
def test_nothing_is_missed_or_given_twice(left: list[int], right: list[int], page: int) -> None:
    """Whatever lies where, each entry is given once, in order, and a page of rows is never exceeded."""
    both, only_left, only_right, positions, longest = asyncio.run(joined(left, right, page))
    assert both == sorted(set(left) & set(right))
    assert only_left == sorted(set(left) - set(right))
    assert only_right == sorted(set(right) - set(left))
    assert longest <= page
    assert positions[-1] is None
    reached = [position for position in positions if position is not None]
    assert reached == sorted(reached)


async def test_an_iterator_that_breaks_is_opened_again_behind_its_last_entry() -> None:
    """An outage in the middle of a listing neither loses nor repeats an entry."""
    breaks = iter([3, 5, 99])

    async def open_after(position: int) -> AsyncIterator[int]:
        until = next(breaks)
        for number in range(position + 1, 8):
            if number == until:
                raise ObjectStoreOutage("away")
            yield number

    taken: list[int] = []
    async with Reopened[int, int](open_after, lambda number: number, after=-1) as entries:
        for _ in range(2):
            with pytest.raises(ObjectStoreOutage):
                await entries.take(100)
        taken = await entries.take(100)
    assert taken == list(range(8))
