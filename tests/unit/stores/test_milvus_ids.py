"""Listing ids in order from a server that returns any ids it likes."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.collection import MAX_VECTOR_ID
from stores.vectors.milvus_ids import rising_ids

IDS = st.one_of(
    st.sets(st.integers(0, MAX_VECTOR_ID), max_size=80),
    st.sets(st.integers(0, 400), max_size=80),
    st.sets(st.integers(MAX_VECTOR_ID - 400, MAX_VECTOR_ID), max_size=80),
    st.builds(
        set.union, st.sets(st.integers(0, 200), max_size=60), st.sets(st.integers(2**40, MAX_VECTOR_ID), max_size=20)
    ),
)


class Server:
    """Answers with a random part of the ids in the range, as Milvus Lite does."""

    def __init__(self, ids: set[int], seed: int) -> None:
        self._ids = ids
        self._random = random.Random(seed)
        self.queries = 0

    async def query(self, above: int, up_to: int, limit: int) -> list[int]:
        """At most ``limit`` ids of the range."""
        self.queries += 1
        found = [number for number in self._ids if above < number <= up_to]
        self._random.shuffle(found)
        return found[:limit]


async def listed(server: Server, *, after: int, page: int) -> list[int]:
    """All pages in one list; none is empty or too long."""
    found: list[int] = []
    async for numbers in rising_ids(server.query, after=after, page=page):
        assert 0 < len(numbers) <= page
        found.extend(numbers)
    return found


@settings(deadline=None)
@given(
    ids=IDS,
    seed=st.integers(0, 9),
    page=st.integers(1, 50),
    after=st.one_of(st.just(-1), st.integers(0, MAX_VECTOR_ID)),
)
def test_every_id_comes_once_and_in_order(ids: set[int], seed: int, page: int, after: int) -> None:
    """Whatever part of a range the server returns, the pages make up all ids above the start."""
    found = asyncio.run(listed(Server(ids, seed), after=after, page=page))
    assert found == sorted(number for number in ids if number > after)


async def test_random_ids_cost_little_more_than_a_query_a_page() -> None:
    """Ids as Twinlens draws them take at most twice the queries of a server that could sort."""
    generator = random.Random(1)
    server = Server({generator.getrandbits(63) for _ in range(20_000)}, seed=0)
    found = await listed(server, after=-1, page=500)
    assert len(found) == 20_000
    assert server.queries <= 2 * 20_000 / 500
