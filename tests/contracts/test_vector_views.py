"""What an index of contents and their views must do, over each index that knows no views."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
import pytest_asyncio

from schemas.collection import VIEWS, view_collections
from schemas.errors import ConfigurationError
from stores.vectors.ports import Vector, VectorEntry, VectorIndex
from stores.vectors.views import VectorsWithViews, rising_union
from tests.harness.vectors import DIMENSION, MODEL, all_ids, entries, random_ids, vectors
from tests.harness.waiting import until

pytestmark = pytest.mark.asyncio

QUARTERS = VIEWS["quarters"]


@pytest_asyncio.fixture
async def viewed(plain: VectorIndex) -> VectorsWithViews:
    """An empty collection whose contents have four views each."""
    index = VectorsWithViews(plain, "quarters")
    await index.ensure_collection(model_name=MODEL, dimension=DIMENSION)
    return index


def contents(ids: Sequence[int], bucket: str = "pictures", seed: int = 0) -> list[VectorEntry]:
    """An entry with its views per id."""
    wholes = entries(ids, bucket, seed)
    views = vectors(QUARTERS * len(ids), seed + 1000)
    return [each._replace(views=views[QUARTERS * n : QUARTERS * (n + 1)]) for n, each in enumerate(wholes)]


async def views_of(index: VectorIndex, layout: str = "quarters") -> list[VectorIndex]:
    """The collections of the views alone."""
    live = (await index.live()).name
    return [index.of(name) for name in view_collections(live, "quarters" if layout == "quarters" else "ninths")]


def near(vector: Vector, other: Vector, share: float) -> Vector:
    """A unit vector on the way from one to the other."""
    mixed = (1 - share) * vector + share * other
    return (mixed / np.linalg.norm(mixed)).astype(np.float32)


async def test_a_content_is_found_by_its_nearest_view(viewed: VectorsWithViews) -> None:
    """By each of them, once, with that view's cosine and the whole's beside it; a search of wholes knows no views."""
    stored = contents(random_ids(30))
    await viewed.upsert(stored)
    for view in stored[7].views:
        [hits] = await viewed.search_all([view], limit=30, strong=True)
        assert hits[0].vector_id == stored[7].vector_id
        assert hits[0].cosine == pytest.approx(1, abs=1e-5)
        assert hits[0].cosine_of_whole == pytest.approx(float(view @ stored[7].vector), abs=1e-5)
        assert len({hit.vector_id for hit in hits}) == len(hits) == 30
        [wholes] = await viewed.search([view], limit=30, strong=True)
        expected = sorted((float(each.vector @ view) for each in stored), reverse=True)
        assert [hit.cosine for hit in wholes] == pytest.approx(expected, abs=1e-5)
        assert all(hit.whole is None for hit in wholes)


async def test_the_best_contents_come_out_though_one_has_all_the_best_views(viewed: VectorsWithViews) -> None:
    """The limit counts contents: views of the same content take nobody's place."""
    query = vectors(1, seed=5)[0]
    stored = contents(random_ids(20))
    stored[0] = stored[0]._replace(views=[near(query, view, 0.1) for view in stored[0].views])
    await viewed.upsert(stored)
    for limit in (1, 3, 10):
        [hits] = await viewed.search_all([query], limit=limit, strong=True)
        best = {each.vector_id: max(float(v @ query) for v in (each.vector, *each.views)) for each in stored}
        assert [hit.vector_id for hit in hits] == sorted(best, key=lambda number: -best[number])[:limit]


async def test_a_whole_that_is_nearest_is_no_view(viewed: VectorsWithViews) -> None:
    """Its cosine is the whole's, and filters hold for views as for wholes."""
    stored = [*contents([1, 2, 3], "one"), *contents([4, 5], "two", seed=1)]
    await viewed.upsert(stored)
    [hits] = await viewed.search_all([stored[0].vector], limit=1, strong=True)
    assert (hits[0].vector_id, hits[0].whole) == (1, None)
    [hits] = await viewed.search_all([stored[0].views[2]], limit=5, bucket="two", strong=True)
    assert {hit.vector_id for hit in hits} == {4, 5}
    [hits] = await viewed.search_all([stored[0].views[2]], limit=5, among=[2, 5], strong=True)
    assert {hit.vector_id for hit in hits} == {2, 5}


async def test_views_go_with_their_content(viewed: VectorsWithViews) -> None:
    """After a delete nothing is left in any collection; counts are of contents."""
    stored = contents(random_ids(10))
    await viewed.upsert(stored)
    await viewed.upsert(stored)
    gone = [each.vector_id for each in stored[:4]]
    left = [each.vector_id for each in stored[4:]]
    await viewed.delete(gone)
    await viewed.delete(gone)
    assert await viewed.known([*gone, *left]) == set(left)
    assert await viewed.incomplete(left) == set()
    assert await viewed.count() == 6
    for view in await views_of(viewed):
        assert await all_ids(view, "pictures") == sorted(left)


async def test_what_is_left_of_a_content_is_seen(viewed: VectorsWithViews, plain: VectorIndex) -> None:
    """A content that lost its whole or a view is incomplete; views that nobody has are listed, and can be deleted."""
    ids = random_ids(40)
    await viewed.upsert(contents(ids))
    first, *_, last = await views_of(plain)
    await first.delete([ids[0]])
    await last.delete([ids[1]])
    await plain.delete([ids[2]])
    assert await viewed.incomplete(ids) == set(ids[:3])
    assert await viewed.known(ids) == set(ids)
    for page in (7, 1000):
        assert await all_ids(viewed, "pictures", page=page) == sorted(ids)
    await viewed.delete([ids[2]])
    assert await all_ids(viewed, "pictures") == sorted({*ids} - {ids[2]})
    assert await all_ids(viewed, "pictures", after=sorted(ids)[20]) == sorted({*ids} - {ids[2]} - {*sorted(ids)[:21]})


async def test_views_of_another_layout_are_not_stored(viewed: VectorsWithViews) -> None:
    """Their content is stored and incomplete, as one without views is: it is to be made anew."""
    [short, none, right] = contents([1, 2, 3])
    await viewed.upsert([short._replace(views=short.views[:2]), none._replace(views=()), right])
    assert await viewed.incomplete([1, 2, 3]) == {1, 2}
    assert await viewed.count() == 3


async def test_views_are_turned_on_and_off(plain: VectorIndex) -> None:
    """By the setup, under the processes that run: they notice. What is stored stays; its views come and go."""
    off, on, other = (VectorsWithViews(plain, layout) for layout in ("none", "quarters", "ninths"))
    await off.ensure_collection(model_name=MODEL, dimension=DIMENSION)
    assert await off.layout() == "none"
    ids = [1, 2, 3]
    await off.upsert(contents(ids))
    assert await off.incomplete(ids) == set()
    for _ in range(2):
        await on.ensure_collection(model_name=MODEL, dimension=DIMENSION)
    await off.check()
    assert await off.layout() == await on.layout() == "quarters"
    assert await off.incomplete(ids) == {1, 2, 3}
    await off.upsert(contents(ids[:2]))
    await off.delete(ids[:1])
    assert await on.incomplete(ids[1:]) == {3}
    assert await all_ids(on, "pictures") == [2, 3]
    await other.ensure_collection(model_name=MODEL, dimension=DIMENSION)
    assert await other.layout() == "ninths"
    assert await other.incomplete([2, 3]) == {2, 3}
    # Whoever knows them as quarters meets an outage, and then the ninths.
    await until(lambda: on.known([2, 3]), lambda known: known == {2, 3}, through_outages=True)
    await VectorsWithViews(plain, "none").ensure_collection(model_name=MODEL, dimension=DIMENSION)
    live = (await plain.live()).name
    assert not any([await plain.has(name) for layout in VIEWS for name in view_collections(live, layout)])
    assert await until(on.layout, lambda layout: layout == "none", through_outages=True, seconds=30) == "none"
    assert await plain.count() == 2


async def test_views_go_where_their_collection_goes(viewed: VectorsWithViews) -> None:
    """They are made with it, are live with it, and are dropped with it; the live ones are not."""
    live = (await viewed.live()).name
    name = f"{live}_b"
    for _ in range(2):
        await viewed.create(name, model_name="other@2", dimension=DIMENSION)
    other = viewed.of(name)
    await viewed.upsert(contents([1]))
    await other.upsert(contents([2], seed=3))
    query = contents([2], seed=3)[0].views[0]
    await viewed.make_live(name)
    [hits] = await viewed.search_all([query], limit=5, strong=True)
    assert [hit.vector_id for hit in hits] == [2]
    with pytest.raises(ConfigurationError, match="live"):
        await viewed.drop(name)
    assert await other.incomplete([2]) == set()
    await viewed.make_live(live)
    for _ in range(2):
        await viewed.drop(name)
    assert not any([await viewed.has(each) for each in (name, *view_collections(name, "quarters"))])
    assert await viewed.known([1, 2]) == {1}


async def test_ids_of_several_streams_are_one_rising_stream() -> None:
    """Each id comes once, whatever pages the streams have."""

    async def pages(*numbers: Sequence[int]) -> AsyncIterator[Sequence[int]]:
        for page in numbers:
            yield page

    streams = [pages([1, 2, 9], [12]), pages(), pages([2], [3], [10, 11, 12, 13]), pages([9])]
    found = [list(page) async for page in rising_union(streams, page=2)]
    assert [number for page in found for number in page] == [1, 2, 3, 9, 10, 11, 12, 13]
    assert all(len(page) <= 2 for page in found)
