"""Questions that are asked at the same time and answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest

from query_api.sharing.gathered import GatheredVectors
from query_api.sharing.gathering import Gathering
from tests.harness.library import Library, picture


class _Gate:
    """Answers with the question's double once it is let on, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self.cancelled = 0
        self.started: asyncio.Queue[None] = asyncio.Queue()
        self.go_on = asyncio.Event()

    async def __call__(self, key: str, questions: Sequence[int]) -> Sequence[int | Exception]:
        """Negative questions fail alone, 13 fails all."""
        self.calls.append((key, list(questions)))
        self.started.put_nowait(None)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if 13 in questions:
            raise LookupError("13")
        return [2 * n if n >= 0 else ValueError(str(n)) for n in questions]


@pytest.fixture
async def gate() -> _Gate:
    """A gate that is shut."""
    return _Gate()


async def _asked(gathering: Gathering[str, int, int], gate: _Gate, *questions: int) -> list[asyncio.Task[int]]:
    """One question that is being answered, and the others behind it."""
    first = asyncio.create_task(gathering.ask("a", questions[0]))
    await gate.started.get()
    others = [asyncio.create_task(gathering.ask("a", n)) for n in questions[1:]]
    await asyncio.sleep(0)
    return [first, *others]


async def test_what_comes_meanwhile_goes_together(gate: _Gate) -> None:
    """The first goes alone at once; those behind it go together, at most so many; each gets its own answer."""
    gathering = Gathering(gate, most=3)
    tasks = await _asked(gathering, gate, 1, 2, 3, 4, 5)
    assert gathering.waiting == 4
    gate.go_on.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
    assert gate.calls == [("a", [1]), ("a", [2, 3, 4]), ("a", [5])]
    assert gathering.waiting == 0


async def test_keys_do_not_wait_for_each_other(gate: _Gate) -> None:
    """Questions under another key are asked at once, in a call of their own."""
    gathering = Gathering(gate, most=3)
    tasks = await _asked(gathering, gate, 1, 2)
    tasks.append(asyncio.create_task(gathering.ask("b", 3)))
    await gate.started.get()
    assert gate.calls == [("a", [1]), ("b", [3])]
    gate.go_on.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6]


async def test_failures_reach_those_who_asked(gate: _Gate) -> None:
    """An answer that is an exception fails its caller alone; a call that fails, all of its callers and none after."""
    gathering = Gathering(gate, most=2)
    tasks = await _asked(gathering, gate, 1, 2, -3, 4, 13, 5)
    gate.go_on.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, int, ValueError, LookupError, LookupError, int]
    assert await gathering.ask("a", 6) == 12


async def test_who_leaves_costs_nothing(gate: _Gate) -> None:
    """Who leaves before its turn is never asked for; a call that everybody left is cancelled; the next goes on."""
    gathering = Gathering(gate, most=4)
    first, left, stays = await _asked(gathering, gate, 1, 2, 3)
    left.cancel()
    first.cancel()
    await gate.started.get()
    assert gate.cancelled == 1
    gate.go_on.set()
    assert await stays == 6
    assert gate.calls == [("a", [1]), ("a", [3])]


async def test_who_leaves_takes_no_neighbour_along(gate: _Gate) -> None:
    """A call goes on while one of its callers still waits."""
    gathering = Gathering(gate, most=4)
    first, leaves, stays = await _asked(gathering, gate, 1, 2, 3)
    gate.go_on.set()
    await first
    gate.go_on.clear()
    await gate.started.get()
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    gate.go_on.set()
    assert await stays == 6
    assert gate.cancelled == 0


def _counted(method: Callable[..., Awaitable[Any]], sizes: list[int]) -> Callable[..., Awaitable[Any]]:
    async def counting(first: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(first))
        return await method(first, *args, **kwargs)

    return counting


async def test_searches_at_once_share_questions_and_get_their_own_answers(
    client: httpx.AsyncClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many clients at once cost few calls of each server, and each gets the answer that it gets alone."""
    ids = [await library.add(f"{seed}.png", picture(seed)) for seed in range(8)]
    paths = [f"/v1/images/{image_id}/similar?limit={3 + n % 2}" for n, image_id in enumerate(ids)]
    alone = [(await client.get(path)).json()["results"] for path in paths]
    sizes: dict[str, list[int]] = {"search": [], "get": [], "images": [], "hits": []}
    for port, name in (("vectors", "search"), ("vectors", "get"), ("catalog", "images"), ("catalog", "hits")):
        served = getattr(library, port)
        monkeypatch.setattr(served, name, _counted(getattr(served, name), sizes[name]))
    together = [answer.json()["results"] for answer in await asyncio.gather(*[client.get(path) for path in paths])]
    assert together == alone
    assert {name: sum(counts) for name, counts in sizes.items() if name != "hits"} == dict.fromkeys(
        ("search", "get", "images"), 8
    )
    assert all(len(counts) < 8 for counts in sizes.values()), sizes


async def test_strong_and_narrowed_questions_go_as_they_are(library: Library) -> None:
    """What must see the last moments, or only some vectors, is passed on unchanged."""
    await library.add("a.png", picture(1))
    vectors = GatheredVectors(library.vectors)
    [query] = (await vectors.get([1001])).values()
    library.vectors.bounded_lag = True
    assert await vectors.get([1001], strong=False) == {}
    assert await vectors.search([query], limit=5) == [[]]
    assert [hit.vector_id for [hit] in await vectors.search([query], limit=5, strong=True)] == [1001]
    assert await vectors.search([query], limit=5, among=[7], strong=True) == [[]]
