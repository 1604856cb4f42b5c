"""Tasks side by side."""

from __future__ import annotations

import asyncio

import pytest

from schemas.task_groups import run_with_background, task_group


async def result(value: int) -> int:
    """A task that is done at once."""
    return value


async def nothing() -> None:
    """A background task that is done at once."""


async def fail() -> None:
    """A background task that fails."""
    raise ValueError("broken")


class ForEver:
    """A background task that only ends when it is told to."""

    def __init__(self) -> None:
        self.ended = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def test_the_main_task_ends_the_others() -> None:
    """Its result is the result, and nothing runs on."""
    other = ForEver()

    async def later() -> int:
        await asyncio.sleep(0)
        return await result(7)

    assert await run_with_background(later(), other.run()) == 7
    assert other.ended


async def test_a_background_task_may_end_first() -> None:
    """Its end alone means nothing."""

    async def later() -> int:
        for _ in range(5):
            await asyncio.sleep(0)
        return 7

    assert await run_with_background(later(), nothing()) == 7


async def test_a_failing_background_task_ends_all() -> None:
    """Its error is raised where the main task's result was expected."""
    main, other = ForEver(), ForEver()
    with pytest.raises(ValueError, match="broken"):
        await run_with_background(main.run(), other.run(), fail())
    assert main.ended
    assert other.ended


async def test_cancelling_ends_all() -> None:
    """Who gives up leaves nothing behind."""
    main, other = ForEver(), ForEver()
    task = asyncio.create_task(run_with_background(main.run(), other.run()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert main.ended
    assert other.ended


async def test_the_first_failure_ends_the_others() -> None:
    """Side by side, without a main task."""
    other = ForEver()

    async def side_by_side() -> None:
        async with task_group() as tasks:
            tasks.create_task(other.run())
            tasks.create_task(fail())

    with pytest.raises(ValueError, match="broken"):
        await side_by_side()
    assert other.ended


async def test_what_the_block_raises_is_raised_as_it_is() -> None:
    """Also from within groups within the group."""
    error = ValueError("broken")

    async def failing() -> None:
        async with task_group() as outer, asyncio.TaskGroup() as inner:
            outer.create_task(ForEver().run())
            inner.create_task(ForEver().run())
            raise error

    with pytest.raises(ValueError, match="broken") as raised:
        await failing()
    assert raised.value is error
    assert raised.value.__suppress_context__
