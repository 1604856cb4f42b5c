"""What every vector index must do: Milvus, the Milvus Lite server, the one in memory, and one with views."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import pytest_asyncio

from schemas.collection import MAX_VECTOR_ID
from schemas.errors import ConfigurationError, VectorIndexOutage
from schemas.settings import VectorSettings
from stores.vectors.milvus import MilvusVectors
from stores.vectors.ports import VectorEntry, VectorIndex
from tests.harness.vectors import DIMENSION, MODEL, all_ids, entries, random_ids, vectors
from tests.harness.waiting import until

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def index(blank: VectorIndex) -> VectorIndex:
    """An index with an empty collection."""
    await blank.ensure_collection(model_name=MODEL, dimension=DIMENSION)
    return blank


async def test_stored_vectors_are_found_by_cosine(index: VectorIndex) -> None:
    """A search finds a stored vector first, with a cosine of 1, and others in falling order."""
    stored = entries(random_ids(50))
    await index.upsert(stored)
    [hits] = await index.search([stored[7].vector], limit=10, strong=True)
    assert hits[0].vector_id == stored[7].vector_id
    assert hits[0].cosine == pytest.approx(1, abs=1e-5)
    expected = sorted((float(e.vector @ stored[7].vector) for e in stored), reverse=True)[:10]
    assert [hit.cosine for hit in hits] == pytest.approx(expected, abs=1e-5)


async def test_many_queries_are_answered_in_their_order(index: VectorIndex) -> None:
    """Each query of a search gets its own answer."""
    stored = entries(random_ids(20))
    await index.upsert(stored)
    answers = await index.search([entry.vector for entry in stored], limit=1, strong=True)
    assert [hits[0].vector_id for hits in answers] == [entry.vector_id for entry in stored]


async def test_the_largest_window_is_served_and_a_larger_one_is_a_bug(index: VectorIndex) -> None:
    """A limit may be 1,000 and no more, also when most vectors lie in sealed segments; the same look finds the same."""
    await index.upsert(entries(random_ids(1200)))
    await index.flush()
    [first], [second] = [await index.search([vectors(1)[0]], limit=1000, strong=True) for _ in range(2)]
    assert len(first) == 1000
    assert {hit.vector_id for hit in first} == {hit.vector_id for hit in second}
    # Between two looks a server may seal or compact a segment, and then sums in another order: the last bits differ.
    assert [hit.cosine for hit in first] == pytest.approx([hit.cosine for hit in second], abs=1e-6)
    with pytest.raises(ValueError, match="limit"):
        await index.search([vectors(1)[0]], limit=1001)


async def test_a_bucket_restricts_a_search_and_a_count(index: VectorIndex) -> None:
    """Only vectors of the bucket are found and counted when a bucket is given."""
    ids = random_ids(30)
    await index.upsert([*entries(ids[:20], "one"), *entries(ids[20:], "two-2.x", seed=1)])
    [hits] = await index.search([vectors(1)[0]], limit=30, bucket="two-2.x", strong=True)
    assert {hit.vector_id for hit in hits} == set(ids[20:])
    assert (await index.count("one"), await index.count("two-2.x"), await index.count("three")) == (20, 10, 0)
    assert await index.count() == 30
    assert await index.search([vectors(1)[0]], limit=5, bucket="three", strong=True) == [[]]


async def test_a_search_among_ids_finds_the_best_of_these(index: VectorIndex) -> None:
    """`among` of any length restricts a search, also across parts of a long list."""
    stored = entries(random_ids(300))
    await index.upsert(stored)
    query = stored[0].vector
    chosen = stored[100:200]
    # Most of these ids aren't stored, so that the list is longer than one filter holds.
    among = [entry.vector_id for entry in chosen] + random_ids(9000, seed=5)
    [hits] = await index.search([query], limit=10, among=among, strong=True)
    best = sorted(chosen, key=lambda entry: -float(entry.vector @ query))
    assert [hit.vector_id for hit in hits] == [entry.vector_id for entry in best[:10]]
    assert await index.search([query], limit=10, among=[], strong=True) == [[]]


async def test_upsert_replaces_and_can_be_repeated(index: VectorIndex) -> None:
    """Storing under an id that is there replaces its vector and bucket; nothing is doubled."""
    [old], [new] = entries([7], "one", seed=1), entries([7], "two", seed=2)
    await index.upsert([old])
    await index.upsert([old])
    await index.upsert([new])
    assert await index.count() == 1
    assert await index.count("two") == 1
    assert np.allclose((await index.get([7]))[7], new.vector)
    [hits] = await index.search([new.vector], limit=5, strong=True)
    assert [hit.vector_id for hit in hits] == [7]
    assert hits[0].cosine == pytest.approx(1, abs=1e-5)


async def test_an_id_twice_in_one_upsert_is_stored_once(index: VectorIndex) -> None:
    """The last entry of an id wins within one call."""
    [old], [new] = entries([7], seed=1), entries([7], seed=2)
    await index.upsert([old, new])
    assert await index.count() == 1
    assert np.allclose((await index.get([7]))[7], new.vector)


async def test_get_returns_exactly_what_was_stored(index: VectorIndex) -> None:
    """The float32 values come back bit by bit; ids that aren't there are left out."""
    stored = entries(random_ids(700))
    await index.upsert(stored)
    found = await index.get([entry.vector_id for entry in stored] + [1, 2, 3])
    assert set(found) == {entry.vector_id for entry in stored}
    for entry in stored:
        assert found[entry.vector_id].dtype == np.float32
        assert np.array_equal(found[entry.vector_id], entry.vector)


async def test_ids_are_known_while_something_is_stored_under_them(index: VectorIndex) -> None:
    """`known` says so at once, of any number of ids."""
    stored = random_ids(5000)
    await index.upsert(entries(stored[:300]))
    await index.delete(stored[:100])
    assert await index.known(stored) == set(stored[100:300])
    assert await index.known([]) == set()


async def test_a_collection_is_there_or_not(index: VectorIndex) -> None:
    """`has` knows a collection by its name."""
    live = (await index.live()).name
    assert await index.has(live)
    assert not await index.has(f"{live}_never_made")


async def test_deleted_vectors_are_gone(index: VectorIndex) -> None:
    """After a delete a strong look finds nothing; deleting again, or nothing at all, is no error."""
    stored = entries(random_ids(10))
    await index.upsert(stored)
    gone = [entry.vector_id for entry in stored[:4]]
    await index.delete(gone)
    await index.delete(gone)
    await index.delete([])
    await index.upsert([])
    assert await index.count() == 6
    assert await index.get(gone) == {}
    [hits] = await index.search([stored[0].vector], limit=10, strong=True)
    assert not {hit.vector_id for hit in hits} & set(gone)


async def test_a_deleted_id_can_be_stored_again(index: VectorIndex) -> None:
    """Upsert, delete and upsert of one id at once ends with the vector being there."""
    [entry] = entries([11])
    for _ in range(3):
        await index.upsert([entry])
        await index.delete([11])
    await index.upsert([entry])
    assert list(await index.get([11])) == [11]


async def test_changes_become_visible_to_searches_that_are_not_strong(index: VectorIndex) -> None:
    """A bounded search sees an upsert soon, without a flush."""
    [entry] = entries([5])
    await index.upsert([entry])
    await until(lambda: index.search([entry.vector], limit=1), lambda answer: [h.vector_id for h in answer[0]] == [5])


@pytest.mark.parametrize("flushed", [False, True])
async def test_ids_are_complete_and_rising(index: VectorIndex, flushed: bool) -> None:
    """`ids` yields every id of the bucket once and in order, for any page size, before and after a flush."""
    mine, others = random_ids(1500), random_ids(300, seed=1)
    await index.upsert([*entries(mine, "mine"), *entries(others, "others")])
    if flushed:
        await index.flush()
    for page in (100, 1000):
        assert await all_ids(index, "mine", page=page) == sorted(mine)
    assert await all_ids(index, "mine", after=sorted(mine)[700]) == sorted(mine)[701:]
    assert await all_ids(index, "nobody's") == []


async def test_ids_of_any_distribution_are_complete(index: VectorIndex) -> None:
    """Crowded ids and the smallest and largest ones are all listed."""
    ids = [0, 1, *range(1000, 1500), 2**62, MAX_VECTOR_ID - 1, MAX_VECTOR_ID]
    await index.upsert(entries(ids))
    assert await all_ids(index, "pictures", page=100) == ids


async def test_the_collection_is_made_once(index: VectorIndex) -> None:
    """Setting up again changes nothing; another model or dimension is refused."""
    await index.upsert(entries([3]))
    await index.ensure_collection(model_name=MODEL, dimension=DIMENSION)
    assert await index.count() == 1
    assert await index.model_name() == MODEL
    with pytest.raises(ConfigurationError):
        await index.ensure_collection(model_name="other", dimension=DIMENSION)
    with pytest.raises(ConfigurationError):
        await index.ensure_collection(model_name=MODEL, dimension=DIMENSION + 1)
    with pytest.raises(ConfigurationError):
        await index.ensure_collection(model_name="sscd@2", dimension=DIMENSION)
    assert await index.model_name() == MODEL


async def test_a_collection_from_before_there_were_fingerprints_is_taken_over(blank: VectorIndex) -> None:
    """Nobody knows which file made it: any of its id may go on with it."""
    await blank.ensure_collection(model_name="sscd", dimension=DIMENSION)
    await blank.ensure_collection(model_name="sscd@1", dimension=DIMENSION)
    assert await blank.model_name() == "sscd"


async def test_two_setups_at_once_make_one_collection(blank: VectorIndex) -> None:
    """Concurrent setups all succeed; Milvus Lite trips over them, which is an outage that passes."""

    async def set_up() -> None:
        await until(lambda: blank.ensure_collection(model_name=MODEL, dimension=DIMENSION), through_outages=True)

    await asyncio.gather(*(set_up() for _ in range(3)))
    await blank.check()
    assert await blank.count() == 0


async def test_without_a_collection_there_is_no_model_and_work_waits(blank: VectorIndex) -> None:
    """Before the setup, the model is a configuration error and everything else an outage."""
    with pytest.raises(ConfigurationError, match="setup"):
        await blank.model_name()
    with pytest.raises(VectorIndexOutage):
        await blank.check()
    with pytest.raises(VectorIndexOutage):
        await blank.upsert(entries([1]))
    with pytest.raises(VectorIndexOutage):
        await blank.search(vectors(1), limit=1)


async def test_wrong_arguments_are_bugs_and_store_nothing(index: VectorIndex) -> None:
    """A vector of another dimension or with NaN, a negative id and an odd bucket are ValueErrors."""
    good, nan = vectors(1)[0], np.full(DIMENSION, np.nan, dtype=np.float32)
    wrong = [
        VectorEntry(1, "pictures", good[:5]),
        VectorEntry(1, "pictures", nan),
        VectorEntry(-1, "pictures", good),
        VectorEntry(MAX_VECTOR_ID + 1, "pictures", good),
        VectorEntry(1, 'pic"tures', good),
        VectorEntry(1, "x" * 64, good),
    ]
    for entry in wrong:
        with pytest.raises(ValueError, match=r"."):
            await index.upsert([entry])
    with pytest.raises(ValueError, match="shape"):
        await index.search([good[:5]], limit=1)
    assert await index.count() == 0


async def test_many_calls_at_once_are_all_answered(index: VectorIndex) -> None:
    """Concurrent writes and searches over one adapter don't disturb each other."""
    stored = entries(random_ids(60))
    await asyncio.gather(*(index.upsert([entry]) for entry in stored))
    answers = await asyncio.gather(*(index.search([entry.vector], limit=1, strong=True) for entry in stored))
    assert [answer[0][0].vector_id for answer in answers] == [entry.vector_id for entry in stored]


OTHER: Final = "other@2"


async def test_two_collections_beside_each_other(index: VectorIndex) -> None:
    """What is stored in or deleted from one collection, of another dimension even, is not so in the other."""
    live = await index.live()
    other = index.of(f"{live.name}_b")
    await index.create(f"{live.name}_b", model_name=OTHER, dimension=3)
    stored = entries(random_ids(5))
    await index.upsert(stored)
    small = [VectorEntry(entry.vector_id, entry.bucket, entry.vector[:3]) for entry in stored[:4]]
    await other.upsert(small)
    await index.delete([stored[0].vector_id])
    assert set(await other.get([entry.vector_id for entry in stored])) == {entry.vector_id for entry in small}
    assert (await index.count(), await other.count()) == (4, 4)
    [hits] = await other.search([small[2].vector], limit=4, strong=True)
    assert hits[0].vector_id == small[2].vector_id
    assert (await index.model_name(), await other.model_name()) == (live.model_name, OTHER)


async def test_the_alias_moves_at_once_and_back(index: VectorIndex) -> None:
    """Who goes by the alias sees the other collection; who has chosen one, that one; the live one is not dropped."""
    live = await index.live()
    name = f"{live.name}_b"
    before, after = index.of(live.name), index.of(name)
    await index.upsert(entries(random_ids(3)))
    for _ in range(2):
        await index.create(name, model_name=OTHER, dimension=DIMENSION)
    await after.upsert(entries(random_ids(5, seed=9)))
    for _ in range(2):
        await index.make_live(name)
    assert await index.live() == (name, OTHER)
    assert (await index.count(), await before.count(), await after.count()) == (5, 3, 5)
    assert [len(hits) for hits in await before.search(vectors(1), limit=9, strong=True)] == [3]
    with pytest.raises(ConfigurationError, match="live"):
        await index.drop(name)
    await index.make_live(live.name)
    for _ in range(2):
        await index.drop(name)
    assert await index.live() == live
    assert await index.count() == 3
    with pytest.raises(VectorIndexOutage):
        await after.count()


async def test_a_collection_of_another_model_is_not_taken_for_ones_own(index: VectorIndex) -> None:
    """Neither a dimension nor a model may change under a collection's name."""
    name = f"{(await index.live()).name}_b"
    await index.create(name, model_name=OTHER, dimension=DIMENSION)
    for model, dimension in ((OTHER, DIMENSION + 1), ("third@3", DIMENSION)):
        with pytest.raises(ConfigurationError):
            await index.create(name, model_name=model, dimension=dimension)
    await index.make_live(name)
    await index.ensure_collection(model_name=OTHER, dimension=DIMENSION)
    assert (await index.live()).name == name
    await index.drop(f"{name}_never_made")


async def test_a_new_connection_has_nothing_of_one_before(milvus_lite: str) -> None:
    """Milvus Lite turns away who pings an idle connection, as gRPC does for a while after it was closed: a connection
    that took over from such a one would be told so.
    """
    seen: list[set[Path]] = []
    for _ in range(2):
        index = MilvusVectors(VectorSettings(uri=milvus_lite, alias=f"t{secrets.token_hex(6)}"))
        await index.ensure_collection(model_name=MODEL, dimension=DIMENSION)
        seen.append(open_sockets())
        await index.close()
    assert seen[1] - seen[0]


def open_sockets() -> set[Path]:
    """The sockets of this process."""
    return {each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_socket()}
