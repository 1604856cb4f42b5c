"""What every catalog must do: in memory, on SQLite, MariaDB and MySQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.errors import Outage
from schemas.records import ContentRecord, ImageRecord, Neighbour, ObjectRef
from stores.catalog.ports import Catalog, CatalogTransaction
from tests.contracts.catalogs import (
    BACKENDS,
    BUCKET,
    DELETING,
    INDEXED,
    NOW,
    PENDING,
    REJECTED,
    add_content,
    add_image,
    content,
    content_id,
    open_catalog,
    ref,
)

HARD_KEYS = [
    "a",
    "a ",
    " a",
    "A",
    "á",
    "a\u0301",
    "ä",
    "ß",
    "ss",
    "a+b",
    "a%20b",
    "a/b/ü.jpg",
    "🦊.png",
    "🦊🦊.png",
    "'; DROP TABLE images; --",
    "line\nbreak",
    "/".join(["ü" * 110] * 4),
]
"""Keys that some collation or encoding takes for one another, or can't hold; the last has 883 bytes."""


@pytest_asyncio.fixture(params=BACKENDS)
async def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Catalog]:
    """An empty catalog."""
    async with open_catalog(request.param, request, tmp_path) as opened:
        yield opened


class StoppedError(Exception):
    """Leaves a transaction's block, which rolls it back."""


async def _until_waiting(task: asyncio.Task[object]) -> None:
    """Give a task the time to reach a lock that somebody holds; nothing tells from outside that it has."""
    for _ in range(50):
        await asyncio.sleep(0.002)
        assert not task.done()


async def test_an_image_comes_back_as_it_was_saved(catalog: Catalog) -> None:
    """Every field of an image survives, to the microsecond and with any text."""
    await add_content(catalog, "a")
    saved = await add_image(
        catalog,
        "k",
        "a",
        external_id="ünï 🦊",
        size=5_000_000_000,
        content_type="image/png",
        metadata={"external-id": "🦊", "empty": ""},
        reason="too_many_bytes",
        version=2**60,
        published_version=2**59,
        published_state="indexed:aa:",
        publish_due=NOW + timedelta(microseconds=1),
    )
    assert await catalog.image(ref("k")) == saved


async def test_a_content_comes_back_as_it_was_saved(catalog: Catalog) -> None:
    """Every field of a content survives."""
    full = ContentRecord(
        *content_id("b"),
        vector_id=2**53 - 1,
        state=REJECTED,
        md5="0" * 32,
        reason="truncated: ünï 🦊",
        limits="1/2/3/4",
        attempts=3,
        model="sscd",
        version=2**40,
        dirty_since=NOW,
        resend_due=NOW + timedelta(seconds=30),
        width=640,
        height=480,
        format="webp",
        nearest=(Neighbour("c" * 64, 99.25), Neighbour("d" * 64, 0.5)),
        created_at=NOW,
        indexed_at=NOW,
        retired=(1, 2**53 - 2),
    )
    async with catalog.transaction() as tx:
        assert await tx.lock_or_create_content(full) == full
    assert await catalog.contents([full.id, content_id("x")]) == {full.id: full}
    assert await catalog.contents_by_vector({full.vector_id, 1}) == {full.vector_id: full}


async def test_what_is_not_there_is_none(catalog: Catalog) -> None:
    """Reading what is not there gives nothing."""
    assert await catalog.image(ref("k")) is None
    assert await catalog.images([]) == {}
    assert await catalog.contents([]) == {}
    assert await catalog.contents_by_vector([]) == {}
    async with catalog.transaction() as tx:
        assert await tx.lock_images([ref("k").image_id]) == []
        assert await tx.lock_content(content_id("a")) is None
        assert await tx.content(content_id("a")) is None
        assert await tx.references(content_id("a"), limit=1) == []
        assert await tx.oldest_references(BUCKET, []) == {}


async def test_a_locked_image_is_a_placeholder_first(catalog: Catalog) -> None:
    """Locking an image that has no row makes one, which has no object and no version."""
    async with catalog.transaction() as tx:
        image = await tx.lock_image(ref("k"), NOW)
        assert (image.exists, image.version, image.content_id) == (False, 0, None)
        assert await tx.lock_image(ref("k"), NOW) == image


async def test_a_failed_block_rolls_back(catalog: Catalog) -> None:
    """An exception that leaves the block undoes all that was done in it, and frees the rows."""
    await add_image(catalog, "k", "a", size=1)
    with pytest.raises(StoppedError):
        await _change_everything(catalog)
    assert await catalog.image(ref("new")) is None
    image = await catalog.image(ref("k"))
    assert image is not None
    assert image.size == 1
    assert set(await catalog.contents([content_id("a"), content_id("b")])) == {content_id("a")}


async def _change_everything(catalog: Catalog) -> None:
    async with catalog.transaction() as tx:
        image = await tx.lock_image(ref("k"), NOW)
        await tx.lock_image(ref("new"), NOW)
        await tx.lock_or_create_content(content("b"))
        await tx.save_image(_with_size(image, 2))
        raise StoppedError


def _with_size(image: ImageRecord, size: int) -> ImageRecord:
    return ImageRecord(**{name: getattr(image, name) for name in ImageRecord.__slots__} | {"size": size})


async def test_a_cancelled_transaction_leaves_nothing_and_no_lock(catalog: Catalog) -> None:
    """A worker that is cancelled in the middle of a transaction frees what it held."""
    inside = asyncio.Event()

    async def hang() -> None:
        async with catalog.transaction() as tx:
            await tx.lock_image(ref("k"), NOW)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(20):
        await add_image(catalog, "k", size=7)


async def test_nobody_sees_what_is_not_committed(catalog: Catalog) -> None:
    """Reads outside see the last commit, not the transaction that is under way."""
    await add_image(catalog, "k", "a", size=1)
    async with catalog.transaction() as tx:
        image = await tx.lock_image(ref("k"), NOW)
        await tx.save_image(_with_size(image, 2))
        seen = await catalog.image(ref("k"))
        assert seen is not None
        assert seen.size == 1
    seen = await catalog.image(ref("k"))
    assert seen is not None
    assert seen.size == 2


async def test_a_transaction_sees_its_own_writes(catalog: Catalog) -> None:
    """What a transaction wrote it reads back."""
    await add_image(catalog, "k", "a")
    async with catalog.transaction() as tx:
        image = await tx.lock_image(ref("k"), NOW)
        row = await tx.lock_content(content_id("a"))
        assert row is not None
        await tx.save_content(row.but(state=INDEXED))
        assert await tx.content(content_id("a")) == row.but(state=INDEXED)
        assert await tx.references(content_id("a"), limit=2) == [image]
        assert await tx.oldest_references(BUCKET, {"a" * 64}) == {"a" * 64: image}


async def _lock_image(tx: CatalogTransaction) -> object:
    return await tx.lock_image(ref("k"), NOW)


async def _lock_images(tx: CatalogTransaction) -> object:
    return await tx.lock_images([ref("k").image_id])


async def _lock_content(tx: CatalogTransaction) -> object:
    return await tx.lock_content(content_id("a"))


async def _lock_or_create(tx: CatalogTransaction) -> object:
    return await tx.lock_or_create_content(content("a"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (_lock_image, _lock_images),
        (_lock_images, _lock_image),
        (_lock_content, _lock_or_create),
        (_lock_or_create, _lock_content),
    ],
)
async def test_a_locked_row_keeps_others_out(catalog: Catalog, first: object, second: object) -> None:
    """Who wants a row that another one has locked waits until that one is done."""
    assert callable(first)
    assert callable(second)
    await add_image(catalog, "k", "a")
    order: list[str] = []

    async def later() -> None:
        async with catalog.transaction() as tx:
            await second(tx)
            order.append("second")

    async with catalog.transaction() as tx:
        await first(tx)
        task = asyncio.create_task(later())
        await _until_waiting(task)
        order.append("first")
    await task
    assert order == ["first", "second"]


async def test_a_row_that_is_being_inserted_keeps_others_out(catalog: Catalog) -> None:
    """Two transactions that insert the same rows come one after the other."""

    async def insert() -> int:
        async with catalog.transaction() as tx:
            image = await tx.lock_image(ref("k"), NOW)
            row = await tx.lock_or_create_content(content("a"))
            await tx.save_content(row.but(version=row.version + 1))
            await tx.save_image(_with_size(image, image.size + 1))
            return image.seq

    numbers = await asyncio.gather(*[_again(insert) for _ in range(8)])
    image = await catalog.image(ref("k"))
    assert image is not None
    assert image.size == 8
    assert set(numbers) == {image.seq}
    assert (await catalog.contents([content_id("a")]))[content_id("a")].version == 8


async def _again[T](step: Callable[[], Awaitable[T]]) -> T:
    """Run a step until no outage stops it, as workers do."""
    while True:
        try:
            return await step()
        except Outage:
            await asyncio.sleep(0.01)


async def test_a_hundred_keys_with_the_same_bytes_at_once_make_one_content(catalog: Catalog) -> None:
    """A hundred transactions that create the same content each add their reference, and none is lost."""

    def refer(number: int) -> Callable[[], Awaitable[None]]:
        async def step() -> None:
            async with catalog.transaction() as tx:
                image = await tx.lock_image(ref(f"k{number}"), NOW)
                row = await tx.lock_or_create_content(content("a", vector_id=1000 + number))
                await tx.save_content(row.but(version=row.version + 1))
                await tx.save_image(
                    ImageRecord(image.id, BUCKET, image.key, image.seq, sha256="a" * 64, created_at=NOW, updated_at=NOW)
                )

        return step

    await asyncio.gather(*[_again(refer(number)) for number in range(100)])
    row = (await catalog.contents([content_id("a")]))[content_id("a")]
    assert row.version == 100
    async with catalog.transaction() as tx:
        assert len(await tx.references(content_id("a"), limit=200)) == 100


async def test_hard_keys_stay_apart(catalog: Catalog) -> None:
    """Keys that look alike to a collation are different objects, each found again by its own key."""
    for number, key in enumerate(HARD_KEYS):
        await add_image(catalog, key, size=number + 1)
    refs = [ref(key) for key in HARD_KEYS]
    found = await catalog.images(refs)
    assert [found[each].size for each in refs] == list(range(1, len(HARD_KEYS) + 1))
    assert await catalog.count_images(BUCKET) == len(HARD_KEYS)


async def test_images_are_paged_in_the_order_of_their_keys_bytes(catalog: Catalog) -> None:
    """Pages follow the order of the object store's listing, so that both can be compared side by side."""
    for key in HARD_KEYS:
        await add_image(catalog, key)
    paged: list[str] = []
    while page := await catalog.page_of_images(BUCKET, prefix="", after=paged[-1] if paged else "", limit=4):
        paged += [image.key for image in page]
    assert paged == sorted(HARD_KEYS, key=str.encode)
    beyond = await catalog.page_of_images(BUCKET, prefix="a", after="a", limit=2)
    assert [image.key for image in beyond] == ["a ", "a%20b"]


@pytest.mark.parametrize("prefix", ["", "a", "a ", "🦊", "ü", "%", "nothing", "á"])
async def test_a_prefix_is_meant_literally(catalog: Catalog, prefix: str) -> None:
    """Only keys that begin with the prefix's very characters are paged and counted."""
    for key in HARD_KEYS:
        await add_image(catalog, key)
    wanted = sorted((key for key in HARD_KEYS if key.startswith(prefix)), key=str.encode)
    page = await catalog.page_of_images(BUCKET, prefix=prefix, after="", limit=100)
    assert [image.key for image in page] == wanted
    assert await catalog.count_images(BUCKET, prefix=prefix) == len(wanted)


async def test_tombstones_are_not_paged_nor_counted(catalog: Catalog) -> None:
    """An image without an object is on the publisher's list, but not in the bucket."""
    await add_image(catalog, "gone", etag=None, last_modified=None)
    await add_image(catalog, "there")
    assert [image.key for image in await catalog.page_of_images(BUCKET, prefix="", after="", limit=9)] == ["there"]
    assert await catalog.count_images(BUCKET) == 1


async def test_buckets_are_apart(catalog: Catalog) -> None:
    """The same key and bytes in another bucket are another image and another content."""
    await add_image(catalog, "k", "a")
    assert await catalog.image(ObjectRef("other", "k")) is None
    assert await catalog.count_images("other") == 0
    assert await catalog.page_of_contents("other", after="", limit=9) == []


async def test_references_are_found_oldest_first(catalog: Catalog) -> None:
    """The images that refer to a content, in the order in which they were first seen."""
    keys = ["c", "a", "b"]
    images = [await add_image(catalog, key, "a") for key in keys]
    await add_image(catalog, "other", "b")
    async with catalog.transaction() as tx:
        assert await tx.references(content_id("a"), limit=9) == images
        assert await tx.references(content_id("a"), limit=2) == images[:2]
        oldest = await tx.oldest_references(BUCKET, {"a" * 64, "b" * 64, "c" * 64})
    assert {digest: image.key for digest, image in oldest.items()} == {"a" * 64: "c", "b" * 64: "other"}


async def test_only_references_with_something_to_publish_are_listed(catalog: Catalog) -> None:
    """Those that are marked, and those whose last snapshot says something else; by id, in pages."""
    told = {"version": 7, "published_version": 7, "published_state": "indexed"}
    await add_image(catalog, "told", "a", **told)
    await add_image(catalog, "elsewhere", "b")
    wanted = [
        await add_image(catalog, "never", "a"),
        await add_image(catalog, "changed", "a", **told | {"version": 8}),
        await add_image(catalog, "other", "a", **told | {"published_state": "pending"}),
        await add_image(catalog, "due", "a", **told | {"publish_due": NOW}),
    ]
    ids = sorted(image.id for image in wanted)
    listed = catalog.unpublished_ids
    assert await listed(content_id("a"), published_state="indexed", after="", limit=3) == ids[:3]
    assert await listed(content_id("a"), published_state="indexed", after=ids[2], limit=3) == ids[3:]


async def test_a_content_that_is_referred_to_cannot_be_deleted(catalog: Catalog) -> None:
    """The foreign key holds, and is no outage that waiting could cure."""
    await add_image(catalog, "k", "a")
    with pytest.raises(Exception, match=r"(?i)foreign key") as refused:
        await _delete_content(catalog)
    assert not isinstance(refused.value, Outage)
    assert await catalog.contents([content_id("a")])


async def _delete_content(catalog: Catalog) -> None:
    async with catalog.transaction() as tx:
        await tx.lock_content(content_id("a"))
        await tx.delete_content(content_id("a"))


async def test_deleting_image_and_content(catalog: Catalog) -> None:
    """Without a reference both rows can be deleted, and come back as new ones."""
    first = await add_image(catalog, "k", "a")
    async with catalog.transaction() as tx:
        await tx.lock_image(ref("k"), NOW)
        await tx.delete_image(first.id)
        await tx.lock_content(content_id("a"))
        await tx.delete_content(content_id("a"))
    assert await catalog.image(ref("k")) is None
    assert await catalog.contents([content_id("a")]) == {}
    again = await add_image(catalog, "k", "a")
    assert again.seq > first.seq


@pytest.mark.parametrize(("state", "carried"), [(PENDING, True), (INDEXED, True), (REJECTED, False), (DELETING, False)])
async def test_only_living_contents_carry_their_vector(catalog: Catalog, state: object, carried: bool) -> None:
    """A vector that a deleting or rejected content has is nobody's: its remover may have passed already."""
    row = await add_content(catalog, "a", state=state)
    async with catalog.transaction() as tx:
        assert await tx.vector_is_carried(row.vector_id) is carried
        assert not await tx.vector_is_carried(row.vector_id + 1)


async def test_the_dirty_mark_is_cleared_only_for_what_was_read(catalog: Catalog) -> None:
    """A content that has changed since it was read stays on the to-do list."""
    row = await add_content(catalog, "a", version=5, dirty_since=NOW, resend_due=NOW)
    assert not await catalog.clear_dirty(row.id, version=4, vector_id=row.vector_id)
    assert not await catalog.clear_dirty(row.id, version=5, vector_id=row.vector_id + 1)
    assert (await catalog.contents([row.id]))[row.id] == row
    assert await catalog.oldest_dirty() == NOW
    assert await catalog.clear_dirty(row.id, version=5, vector_id=row.vector_id)
    assert (await catalog.contents([row.id]))[row.id] == row.but(dirty_since=None, resend_due=None)
    assert await catalog.oldest_dirty() is None


async def test_due_contents_come_oldest_first_and_can_be_postponed(catalog: Catalog) -> None:
    """The sweep's list: what is due, by when it became due; what is no longer dirty is not postponed back onto it."""
    for number, letter in enumerate("cab"):
        await add_content(catalog, letter, dirty_since=NOW, resend_due=NOW + timedelta(seconds=number))
    due = await catalog.due_contents(NOW + timedelta(seconds=1), limit=9)
    assert [row.sha256[0] for row in due] == ["c", "a"]
    assert len(await catalog.due_contents(NOW + timedelta(seconds=9), limit=2)) == 2
    await catalog.clear_dirty(content_id("a"), version=0, vector_id=ord("a"))
    later = NOW + timedelta(seconds=60)
    await catalog.postpone_contents([(content_id("c"), later), (content_id("a"), later), (content_id("x"), later)])
    assert [row.sha256[0] for row in await catalog.due_contents(later, limit=9)] == ["b", "c"]
    await catalog.postpone_contents([])


async def test_due_images_come_oldest_first(catalog: Catalog) -> None:
    """The publisher's list."""
    late = await add_image(catalog, "late", publish_due=NOW + timedelta(seconds=2))
    early = await add_image(catalog, "early", publish_due=NOW)
    await add_image(catalog, "published")
    assert await catalog.due_images(NOW + timedelta(seconds=1), limit=9) == [early.id]
    assert await catalog.due_images(NOW + timedelta(seconds=2), limit=9) == [early.id, late.id]
    assert await catalog.due_images(NOW + timedelta(seconds=2), limit=1) == [early.id]


async def test_contents_are_paged_by_digest_and_by_vector(catalog: Catalog) -> None:
    """Both orders that reconcile walks in."""
    for letter, vector_id in (("a", 30), ("b", 10), ("c", 20)):
        await add_content(catalog, letter)
        async with catalog.transaction() as tx:
            row = await tx.lock_content(content_id(letter))
            assert row is not None
            await tx.save_content(row.but(vector_id=vector_id))
    digests = [row.sha256[0] for row in await catalog.page_of_contents(BUCKET, after="a" * 64, limit=9)]
    assert digests == ["b", "c"]
    by_vector = await catalog.page_of_contents_by_vector(BUCKET, after=10, limit=9)
    assert [row.vector_id for row in by_vector] == [20, 30]
    assert len(await catalog.page_of_contents_by_vector(BUCKET, after=0, limit=2)) == 2


async def test_progress_is_remembered_and_forgotten(catalog: Catalog) -> None:
    """A job finds its position again, whatever JSON it is."""
    assert await catalog.progress("job") is None
    for position in ({"after": "🦊", "seen": 3}, "k", [1, None]):
        await catalog.save_progress("job", position, NOW)
        assert await catalog.progress("job") == position
    await catalog.save_progress("job", None, NOW)
    assert await catalog.progress("job") is None


async def test_check_passes(catalog: Catalog) -> None:
    """A catalog that has its schema is ready."""
    await catalog.check()
