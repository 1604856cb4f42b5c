"""What every catalog must do: in memory, on SQLite, MariaDB and MySQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.errors import CatalogContention, CatalogOutage, Outage
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, Neighbour, ObjectRef, Reason
from stores.catalog.ports import Catalog, CatalogTransaction, Reference
from tests.harness.catalogs import (
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
    image_of,
    lock_content,
    lock_image,
    open_catalog,
    placeholder,
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
        reason=Reason("too_many_bytes"),
        sequencer="1856FB8E5A1B2C3D",
        version=2**60,
        published_version=2**59,
        published_state="indexed:aa:",
        publish_due=NOW + timedelta(microseconds=1),
    )
    assert await image_of(catalog, "k") == saved
    async with catalog.transaction() as tx:
        assert await tx.lock_images([saved.id]) == {saved.id: saved}


async def test_a_content_comes_back_as_it_was_saved(catalog: Catalog) -> None:
    """Every field of a content survives."""
    full = ContentRecord(
        *content_id("b"),
        vector_id=2**53 - 1,
        state=REJECTED,
        md5="0" * 32,
        reason=Reason("truncated", "ünï: 🦊 %s"),
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
        decoded_share=0.6667,
    )
    async with catalog.transaction() as tx:
        assert await tx.lock_contents([], create=[full]) == {full.id: full}
        await tx.save_contents([full])
        assert await tx.lock_contents([full.id]) == {full.id: full}
    assert await catalog.contents([full.id, content_id("x")]) == {full.id: full}
    assert await catalog.contents_by_vector({full.vector_id, 1}) == {full.vector_id: full}


async def test_rows_of_every_kind_are_saved_together(catalog: Catalog) -> None:
    """A batch may hold rows with and without each value, in any order, and long ones beside short ones."""
    full = await add_image(
        catalog,
        "m",
        "a",
        external_id="ünï 🦊",
        size=2**40,
        metadata={"name": "🦊 %s ?" * 400},
        reason=Reason("broken", "'; -- \\ \n"),
        sequencer="1856FB8E5A1B2C3D",
        version=2**60,
        published_version=7,
        published_state="rejected",
        publish_due=NOW + timedelta(microseconds=1),
    )
    bare = [await add_image(catalog, key, etag=None, last_modified=None) for key in "an"]
    wanted = [
        replace(full, sha256=None, etag=None, last_modified=None, publish_due=None, external_id=None, reason=None),
        *[replace(full, id=image.id, key=image.key, seq=image.seq, size=size) for size, image in enumerate(bare)],
    ]
    async with catalog.transaction() as tx:
        await tx.lock_images([image.id for image in wanted])
        await tx.save_images(wanted)
    assert await catalog.images([image.ref for image in wanted]) == {image.ref: image for image in wanted}


async def test_what_is_not_there_is_left_out(catalog: Catalog) -> None:
    """Reading and locking what is not there gives nothing."""
    assert await catalog.images([ref("k")]) == {}
    async with catalog.transaction() as tx:
        assert await tx.lock_images([ref("k").image_id]) == {}
        assert await tx.lock_contents([content_id("a")]) == {}
        assert await tx.contents([content_id("a")]) == {}
        assert await tx.oldest_references([content_id("a")]) == {}
        assert await tx.unpublished_references({content_id("a"): "indexed"}, limit=9) == {}
        assert await tx.carried_vectors([1]) == set()


async def test_carriers_are_named_with_their_oldest_object(catalog: Catalog) -> None:
    """A content that nothing refers to is named without an object; unknown vector ids are left out."""
    shared, lonely = content("a", state=ContentState.INDEXED), content("b", state=ContentState.INDEXED)
    keys = ["z first/ü.png", "a later.png"]
    async with catalog.transaction() as tx:
        await tx.lock_contents([], create=[shared, lonely])
        for key in keys:
            image = replace(placeholder(key), sha256=shared.sha256, etag="e")
            await tx.lock_images([], create=[image])
            await tx.save_images([image])
    found = await catalog.carriers([shared.vector_id, lonely.vector_id, 5])
    assert found == {
        shared.vector_id: (shared.id, ref(keys[0])),
        lonely.vector_id: (lonely.id, None),
    }


async def test_nothing_asked_for_is_nothing_done(catalog: Catalog) -> None:
    """Every method takes an empty batch."""
    assert await catalog.images([]) == {}
    assert await catalog.contents([]) == {}
    assert await catalog.contents_by_vector([]) == {}
    assert await catalog.carriers([]) == {}
    async with catalog.transaction() as tx:
        assert await tx.lock_images([]) == {}
        assert await tx.lock_contents([]) == {}
        assert await tx.contents([]) == {}
        assert await tx.oldest_references([]) == {}
        assert await tx.unpublished_references({}, limit=9) == {}
        assert await tx.carried_vectors([]) == set()
        await tx.save_images([])
        await tx.save_contents([])
        await tx.delete_images([])
        await tx.delete_contents([])


async def test_a_row_that_is_missing_is_created_and_locked(catalog: Catalog) -> None:
    """It has what it was created with, and an image a number of its own; a second time it is found."""
    fresh = replace(placeholder("k"), sequencer="1")
    async with catalog.transaction() as tx:
        [image] = (await tx.lock_images([], create=[fresh])).values()
        assert image == replace(fresh, seq=image.seq)
        assert image.seq > 0
        assert (image.exists, image.version, image.content_id) == (False, 0, None)
        assert await tx.lock_images([fresh.id], create=[fresh]) == {fresh.id: image}
        row = content("a", state=INDEXED)
        assert await tx.lock_contents([], create=[row]) == {row.id: row}
        assert await tx.lock_contents([row.id], create=[row]) == {row.id: row}
    assert await image_of(catalog, "k") == image
    assert await catalog.contents([row.id]) == {row.id: row}


async def test_a_row_that_is_there_stays_as_it_is(catalog: Catalog) -> None:
    """What was to be created is dropped where somebody else was quicker; those that were only asked for come too."""
    known = await add_image(catalog, "known", "a", size=7)
    asked = await add_image(catalog, "asked", "b")
    images = [placeholder("known"), replace(placeholder("new"), size=3)]
    async with catalog.transaction() as tx:
        locked = await tx.lock_images([asked.id, ref("nowhere").image_id], create=images)
        assert {image.key: image.size for image in locked.values()} == {"known": 7, "asked": 0, "new": 3}
        assert (locked[known.id], locked[asked.id]) == (known, asked)
        assert locked[ref("new").image_id].seq > asked.seq
        contents = [content("a", state=REJECTED), content("c", state=REJECTED)]
        rows = await tx.lock_contents([content_id("b"), content_id("x")], create=contents)
        assert {row.sha256[0]: row.state for row in rows.values()} == {"a": PENDING, "b": PENDING, "c": REJECTED}
        assert all(row.id == key for key, row in rows.items())


async def test_a_batch_may_span_buckets(catalog: Catalog) -> None:
    """Contents are told apart by bucket and digest, in every method that takes several."""
    ids = [ContentId("one", "a" * 64), ContentId("two", "a" * 64), ContentId("two", "b" * 64)]
    fresh = [ContentRecord(*each, vector_id=number, created_at=NOW) for number, each in enumerate(ids)]
    async with catalog.transaction() as tx:
        locked = await tx.lock_contents(ids[:1], create=fresh)
        assert locked == {row.id: row for row in fresh}
        await tx.save_contents([replace(row, version=row.vector_id) for row in fresh])
        seen = await tx.contents(ids)
        assert [seen[each].version for each in ids] == [0, 1, 2]
        await tx.delete_contents(ids[1:])
    assert set(await catalog.contents(ids)) == {ids[0]}
    assert await catalog.contents([ContentId("one", "b" * 64)]) == {}


async def test_five_hundred_rows_in_one_call(catalog: Catalog) -> None:
    """Batches may be large: every row is created, locked, saved, read and deleted."""
    digests = [f"{number:064x}" for number in range(500)]
    fresh = [ContentRecord(BUCKET, digest, vector_id=number, created_at=NOW) for number, digest in enumerate(digests)]
    images = [placeholder(f"k{number}") for number in range(500)]
    ids = [row.id for row in fresh]
    async with catalog.transaction() as tx:
        locked = await tx.lock_images([], create=images)
        assert await tx.lock_contents([], create=fresh) == {row.id: row for row in fresh}
        await tx.save_contents([replace(row, version=row.vector_id) for row in fresh])
        await tx.save_images(
            [replace(locked[image.id], sha256=sha, etag="e") for image, sha in zip(images, digests, strict=True)]
        )
    assert {row.sha256 for row in (await catalog.images([image.ref for image in images])).values()} == set(digests)
    assert [row.version for row in (await catalog.contents(ids)).values()] == list(range(500))
    async with catalog.transaction() as tx:
        oldest = await tx.oldest_references(ids)
        assert {one.key: each.sha256 for each, [one] in oldest.items()} == {
            image.key: sha for image, sha in zip(images, digests, strict=True)
        }
        assert len(await tx.unpublished_references(dict.fromkeys(ids, "indexed"), limit=2)) == 500
        assert await tx.carried_vectors(range(400, 600)) == set(range(400, 500))
        assert set(await tx.lock_images([image.id for image in images])) == {image.id for image in images}
        assert set(await tx.lock_contents(ids)) == set(ids)
        await tx.delete_images([image.id for image in images])
        await tx.delete_contents(ids)
    assert await catalog.count_images(BUCKET) == 0
    assert await catalog.contents(ids) == {}


async def test_a_failed_block_rolls_back(catalog: Catalog) -> None:
    """An exception that leaves the block undoes all that was done in it, and frees the rows."""
    await add_image(catalog, "k", "a", size=1)
    with pytest.raises(StoppedError):
        await _change_everything(catalog)
    assert await image_of(catalog, "new") is None
    image = await image_of(catalog, "k")
    assert image is not None
    assert image.size == 1
    assert set(await catalog.contents([content_id("a"), content_id("b")])) == {content_id("a")}


async def _change_everything(catalog: Catalog) -> None:
    async with catalog.transaction() as tx:
        image = await lock_image(tx, "k")
        await lock_image(tx, "new")
        await lock_content(tx, "b")
        await tx.save_images([replace(image, size=2)])
        raise StoppedError


async def test_a_cancelled_transaction_leaves_nothing_and_no_lock(catalog: Catalog) -> None:
    """A worker that is cancelled in the middle of a transaction frees what it held."""
    inside = asyncio.Event()

    async def hang() -> None:
        async with catalog.transaction() as tx:
            await lock_image(tx, "k")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(20):
        await add_image(catalog, "k", size=7)


async def test_who_is_cancelled_while_waiting_leaves_the_row_to_others(catalog: Catalog) -> None:
    """A worker that is cancelled while it waits for a lock never gets it, and the holder goes on undisturbed."""
    await add_image(catalog, "k", "a")

    async def wait() -> None:
        async with catalog.transaction() as tx:
            await lock_content(tx, "a")
            await lock_image(tx, "k")

    async with catalog.transaction() as tx:
        image = await lock_image(tx, "k")
        task = asyncio.create_task(wait())
        await _until_waiting(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await tx.save_images([replace(image, size=5)])
    async with asyncio.timeout(20):
        assert (await add_image(catalog, "k", "a", size=6)).seq == image.seq


async def test_nobody_sees_what_is_not_committed(catalog: Catalog) -> None:
    """Reads outside see the last commit, not the transaction that is under way."""
    await add_image(catalog, "k", "a", size=1)
    async with catalog.transaction() as tx:
        image = await lock_image(tx, "k")
        await tx.save_images([replace(image, size=2)])
        seen = await image_of(catalog, "k")
        assert seen is not None
        assert seen.size == 1
    seen = await image_of(catalog, "k")
    assert seen is not None
    assert seen.size == 2


async def test_a_transaction_sees_its_own_writes(catalog: Catalog) -> None:
    """What a transaction wrote it reads back, by every method."""
    await add_image(catalog, "k", "a")
    async with catalog.transaction() as tx:
        image = await lock_image(tx, "k")
        row = replace(await lock_content(tx, "a"), state=INDEXED)
        await tx.save_contents([row])
        assert await tx.contents([row.id]) == {row.id: row}
        assert await tx.lock_contents([row.id]) == {row.id: row}
        other = await lock_content(tx, "b")
        image = replace(image, sha256=other.sha256, version=2)
        await tx.save_images([image])
        assert await tx.lock_images([image.id]) == {image.id: image}
        assert await tx.oldest_references([row.id, other.id]) == {other.id: [Reference(image.id, BUCKET, "k")]}
        assert await tx.unpublished_references({other.id: ""}, limit=2) == {other.id: [image.id]}
        assert await tx.carried_vectors([row.vector_id, other.vector_id]) == {row.vector_id, other.vector_id}
        await tx.delete_contents([row.id])
        assert await tx.contents([row.id, other.id]) == {other.id: other}
        assert await tx.carried_vectors([row.vector_id]) == set()


type Locking = Callable[[CatalogTransaction], Awaitable[object]]


async def _lock_image(tx: CatalogTransaction) -> object:
    return await tx.lock_images([ref("k").image_id])


async def _lock_or_create_image(tx: CatalogTransaction) -> object:
    return await tx.lock_images([], create=[placeholder("j"), placeholder("k")])


async def _lock_content(tx: CatalogTransaction) -> object:
    return await tx.lock_contents([content_id("a")])


async def _lock_or_create_content(tx: CatalogTransaction) -> object:
    return await tx.lock_contents([], create=[content("a"), content("b")])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (_lock_image, _lock_or_create_image),
        (_lock_or_create_image, _lock_image),
        (_lock_content, _lock_or_create_content),
        (_lock_or_create_content, _lock_content),
    ],
)
async def test_a_locked_row_keeps_others_out(catalog: Catalog, first: Locking, second: Locking) -> None:
    """Who wants a row that another one has locked waits until that one is done."""
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


@pytest.mark.parametrize("catalog", [backend for backend in BACKENDS if backend != "sqlite"], indirect=True)
async def test_a_lock_keeps_nobody_out_of_other_rows(catalog: Catalog) -> None:
    """Others lock, create, save and delete every other row of a small table; not so on SQLite, which has one lock."""
    await add_image(catalog, "k", "a")
    others = [await add_image(catalog, f"k{letter}", letter) for letter in "bcdef"]
    ids = [image.id for image in others]
    content_ids = [content_id(letter) for letter in "bcdef"]
    async with asyncio.timeout(20), catalog.transaction() as holder:
        await lock_image(holder, "k")
        await lock_content(holder, "a")
        async with catalog.transaction() as tx:
            images = await tx.lock_images(ids, create=[placeholder("fresh")])
            rows = await tx.lock_contents(content_ids, create=[content("g")])
            await tx.save_contents([replace(row, version=3) for row in rows.values()])
            await tx.save_images([replace(image, size=3) for image in images.values()])
        async with catalog.transaction() as tx:
            await tx.lock_images(ids)
            await tx.delete_images(ids)
            await tx.lock_contents(content_ids)
            await tx.delete_contents(content_ids)
    left = await catalog.images([image.ref for image in (*images.values(), placeholder("k"))])
    assert {image.key: image.size for image in left.values()} == {"k": 0, "fresh": 3}
    assert set(await catalog.contents([*content_ids, content_id("a"), content_id("g")])) == {
        content_id("a"),
        content_id("g"),
    }


@pytest.mark.parametrize("catalog", [backend for backend in BACKENDS if backend != "sqlite"], indirect=True)
async def test_a_row_that_is_not_there_is_not_locked(catalog: Catalog) -> None:
    """Who finds none keeps nobody from creating it: to be sure of a row, create it."""
    await add_image(catalog, "k", "a")
    async with asyncio.timeout(20), catalog.transaction() as tx:
        assert len(await tx.lock_images([ref("k").image_id, ref("new").image_id])) == 1
        assert await tx.lock_contents([content_id("b")]) == {}
        created = await add_image(catalog, "new", "b")
        assert await tx.lock_images([created.id]) == {created.id: created}
        assert set(await tx.lock_contents([content_id("b")])) == {content_id("b")}


@pytest.mark.parametrize("catalog", [backend for backend in BACKENDS if backend != "sqlite"], indirect=True)
async def test_an_image_whose_content_is_locked_can_be_saved(catalog: Catalog) -> None:
    """Publishing an image changes no reference, so it does not wait for who works on the content."""
    await add_image(catalog, "k", "a")
    async with asyncio.timeout(20), catalog.transaction() as holder:
        await lock_content(holder, "a")
        async with catalog.transaction() as tx:
            image = await lock_image(tx, "k")
            await tx.save_images([replace(image, published_version=7)])
        assert await image_of(catalog, "k") == replace(image, published_version=7)


async def test_locks_are_taken_in_order_whatever_the_order_asked(catalog: Catalog) -> None:
    """Many transactions that want the same rows, each in an order of its own, never meet in a deadlock."""
    letters = "abcdefgh"
    keys = [f"k{number}" for number in range(8)]
    for letter, key in zip(letters, keys, strict=True):
        await add_image(catalog, key, letter)

    async def lock(turn: int) -> None:
        wanted = keys[turn:] + keys[:turn]
        digests = letters[turn:] + letters[:turn]
        async with catalog.transaction() as tx:
            images = await tx.lock_images([ref(key).image_id for key in wanted])
            rows = await tx.lock_contents([content_id(letter) for letter in digests])
            await tx.save_images([replace(image, size=image.size + 1) for image in images.values()])
            await tx.save_contents([replace(row, version=row.version + 1) for row in rows.values()])

    await asyncio.gather(*[lock(turn) for turn in [*range(8)] * 3])
    images = await catalog.images([ref(key) for key in keys])
    assert {image.size for image in images.values()} == {24}
    rows = await catalog.contents([content_id(letter) for letter in letters])
    assert {row.version for row in rows.values()} == {24}


@pytest.mark.parametrize("catalog", [backend for backend in BACKENDS if backend != "sqlite"], indirect=True)
async def test_a_deadlock_is_contention_for_one_of_the_two(catalog: Catalog) -> None:
    """Two that want each other's rows: one is told to run again, the other one goes through.

    Not on SQLite, which has one lock: the second one waits for it before it has anything.
    """
    await add_image(catalog, "k", "a")
    both = asyncio.Barrier(2)

    async def lock(first: Locking, second: Locking) -> str:
        try:
            async with catalog.transaction() as tx:
                await first(tx)
                await both.wait()
                await second(tx)
        except CatalogContention:
            return "contention"
        return "committed"

    outcomes = await asyncio.gather(lock(_lock_image, _lock_content), lock(_lock_content, _lock_image))
    assert sorted(outcomes) == ["committed", "contention"]


async def test_a_row_that_is_being_inserted_keeps_others_out(catalog: Catalog) -> None:
    """Transactions that create the same rows at once come one after the other, and all get the same rows."""
    keys = ["k", "j", "l"]

    async def insert(turn: int) -> dict[str, int]:
        async with catalog.transaction() as tx:
            images = await tx.lock_images([], create=[placeholder(key) for key in keys[turn:] + keys[:turn]])
            rows = await tx.lock_contents([], create=[content("a"), content("b")])
            await tx.save_contents([replace(row, version=row.version + 1) for row in rows.values()])
            await tx.save_images([replace(image, size=image.size + 1) for image in images.values()])
            return {image.key: image.seq for image in images.values()}

    numbers = await asyncio.gather(*[_again(partial(insert, turn % 3)) for turn in range(9)])
    images = await catalog.images([ref(key) for key in keys])
    assert {image.size for image in images.values()} == {9}
    assert all(each == {image.key: image.seq for image in images.values()} for each in numbers)
    rows = await catalog.contents([content_id("a"), content_id("b")])
    assert [row.version for row in rows.values()] == [9, 9]


async def _again[T](step: Callable[[], Awaitable[T]]) -> T:
    """Run a step until no outage stops it, as workers do."""
    while True:
        try:
            return await step()
        except Outage:
            await asyncio.sleep(0.01)


async def test_a_hundred_keys_with_the_same_bytes_at_once_make_one_content(catalog: Catalog) -> None:
    """A hundred transactions that create the same content each add their reference, and none is lost."""

    async def refer(number: int) -> None:
        async with catalog.transaction() as tx:
            image = await lock_image(tx, f"k{number}")
            row = await lock_content(tx, "a", vector_id=1000 + number)
            await tx.save_contents([replace(row, version=row.version + 1)])
            await tx.save_images([replace(image, sha256="a" * 64)])

    await asyncio.gather(*[_again(partial(refer, number)) for number in range(100)])
    row = (await catalog.contents([content_id("a")]))[content_id("a")]
    assert row.version == 100
    async with catalog.transaction() as tx:
        assert len((await tx.oldest_references([row.id], limit=200))[row.id]) == 100


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
    assert await catalog.images([ObjectRef("other", "k")]) == {}
    assert await catalog.count_images("other") == 0
    assert await catalog.page_of_contents("other", after="", limit=9) == []


async def test_references_are_found_oldest_first(catalog: Catalog) -> None:
    """The images that refer to each content, in the order in which they were first seen."""
    for key in ("c", "a", "b"):
        await add_image(catalog, key, "a")
    await add_image(catalog, "other 🦊", "b")
    ids = [content_id(letter) for letter in "abx"]
    async with catalog.transaction() as tx:
        every = await tx.oldest_references(ids, limit=9)
        assert {each.sha256[0]: [one.key for one in own] for each, own in every.items()} == {
            "a": ["c", "a", "b"],
            "b": ["other 🦊"],
        }
        assert every[ids[1]] == [Reference(ref("other 🦊").image_id, BUCKET, "other 🦊")]
        assert every[ids[1]][0].ref == ref("other 🦊")
        assert [one.key for one in (await tx.oldest_references(ids[:1], limit=2))[ids[0]]] == ["c", "a"]
        oldest = await tx.oldest_references(ids)
    assert [[one.key for one in oldest[each]] for each in ids[:2]] == [["c"], ["other 🦊"]]


async def test_only_references_that_were_published_otherwise_are_listed(catalog: Catalog) -> None:
    """Those whose last snapshot says something else, or that have none; so many of each content."""
    told = {"version": 7, "published_version": 7, "published_state": "indexed"}
    await add_image(catalog, "told", "a", **told)
    await add_image(catalog, "told, and a tombstone may follow", "a", **told | {"published_state": "erased:indexed"})
    await add_image(catalog, "elsewhere", "c")
    await add_image(catalog, "rejected", "b", **told | {"published_state": "rejected"})
    of_a = [
        await add_image(catalog, "never", "a"),
        await add_image(catalog, "other", "a", **told | {"published_state": "pending"}),
        await add_image(catalog, "erased", "a", **told | {"published_state": "erased"}),
    ]
    of_b = [await add_image(catalog, "not rejected", "b", **told)]
    states = {content_id("a"): "indexed", content_id("b"): "rejected", content_id("d"): "indexed"}
    async with catalog.transaction() as tx:
        every = await tx.unpublished_references(states, limit=9)
        assert {each: sorted(ids) for each, ids in every.items()} == {
            content_id("a"): sorted(image.id for image in of_a),
            content_id("b"): [image.id for image in of_b],
        }
        some = await tx.unpublished_references(states, limit=2)
        assert set(some[content_id("a")]) < {image.id for image in of_a}
        assert [len(ids) for ids in some.values()] == [2, 1]


async def test_a_content_that_is_referred_to_cannot_be_deleted(catalog: Catalog) -> None:
    """The foreign key holds, and is no outage that waiting could cure."""
    await add_image(catalog, "k", "a")
    with pytest.raises(Exception, match=r"(?i)foreign key") as refused:
        await _delete_content(catalog)
    assert not isinstance(refused.value, Outage)
    assert await catalog.contents([content_id("a")])


async def _delete_content(catalog: Catalog) -> None:
    async with catalog.transaction() as tx:
        await lock_content(tx, "a")
        await lock_content(tx, "b")
        await tx.delete_contents([content_id("a"), content_id("b")])


async def test_an_image_refers_to_a_content_that_is_there(catalog: Catalog) -> None:
    """The foreign key holds the other way round too, and the whole batch is refused."""
    await add_image(catalog, "k", "a")
    with pytest.raises(Exception, match=r"(?i)foreign key") as refused:
        await _refer_to_nothing(catalog)
    assert not isinstance(refused.value, Outage)
    assert await image_of(catalog, "new") is None
    image = await image_of(catalog, "k")
    assert image is not None
    assert image.sha256 == "a" * 64


async def _refer_to_nothing(catalog: Catalog) -> None:
    async with catalog.transaction() as tx:
        image = await lock_image(tx, "k")
        new = await lock_image(tx, "new")
        await tx.save_images([replace(new, sha256="a" * 64), replace(image, sha256="b" * 64)])


async def test_deleting_images_and_contents(catalog: Catalog) -> None:
    """Without a reference both rows can be deleted, and come back as new ones; others stay."""
    first = await add_image(catalog, "k", "a")
    second = await add_image(catalog, "l", "b")
    kept = await add_image(catalog, "m", "c")
    async with catalog.transaction() as tx:
        await tx.lock_images([first.id, second.id])
        await tx.delete_images([first.id, second.id])
        await tx.lock_contents([content_id("a"), content_id("b")])
        await tx.delete_contents([content_id("a"), content_id("b")])
        assert await tx.lock_images([first.id, second.id]) == {}
    assert await catalog.images([ref("k"), ref("l"), ref("m")]) == {ref("m"): kept}
    assert set(await catalog.contents([content_id(letter) for letter in "abc"])) == {content_id("c")}
    again = await add_image(catalog, "k", "a")
    assert again.seq > kept.seq


async def test_a_vector_id_belongs_to_one_content(catalog: Catalog) -> None:
    """A new content whose vector id is another's is not inserted: the caller is to run again with a new one."""
    await add_content(catalog, "a")
    with pytest.raises(CatalogOutage):
        await _take_vector_of_a(catalog)
    assert await catalog.contents([content_id("b")]) == {}


async def _take_vector_of_a(catalog: Catalog) -> None:
    async with catalog.transaction() as tx:
        await lock_content(tx, "b", vector_id=ord("a"))


async def test_only_living_contents_carry_their_vector(catalog: Catalog) -> None:
    """A vector that a deleting or rejected content has is nobody's: its remover may have passed already."""
    letters: dict[ContentState, str] = dict(zip(ContentState, "abcd", strict=True))
    for state, letter in letters.items():
        await add_content(catalog, letter, state=state)
    ids = {state: ord(letter) for state, letter in letters.items()}
    async with catalog.transaction() as tx:
        assert await tx.carried_vectors([*ids.values(), 1]) == {ids[PENDING], ids[INDEXED]}
        assert await tx.carried_vectors([ids[REJECTED], ids[DELETING]]) == set()
        assert await tx.carried_vectors([ids[INDEXED]]) == {ids[INDEXED]}


async def test_the_oldest_dirty_content_is_known(catalog: Catalog) -> None:
    """Since when the one that has waited longest has been dirty, until none is."""
    assert await catalog.oldest_dirty() is None
    await add_content(catalog, "a", dirty_since=NOW)
    await add_content(catalog, "b", dirty_since=NOW - timedelta(microseconds=1))
    await add_content(catalog, "c")
    assert await catalog.oldest_dirty() == NOW - timedelta(microseconds=1)
    for letter in "ab":
        await add_content(catalog, letter, dirty_since=None)
    assert await catalog.oldest_dirty() is None


async def test_due_contents_come_oldest_first(catalog: Catalog) -> None:
    """The sweep's list: what is due, by when it became due."""
    for number, letter in enumerate("cab"):
        await add_content(catalog, letter, dirty_since=NOW, resend_due=NOW + timedelta(seconds=number))
    due = await catalog.due_contents(NOW + timedelta(seconds=1), limit=9)
    assert [row.sha256[0] for row in due] == ["c", "a"]
    assert len(await catalog.due_contents(NOW + timedelta(seconds=9), limit=2)) == 2
    await add_content(catalog, "c", dirty_since=None, resend_due=None)
    assert [row.sha256[0] for row in await catalog.due_contents(NOW + timedelta(seconds=9), limit=9)] == ["a", "b"]


async def test_due_images_come_oldest_first(catalog: Catalog) -> None:
    """The publisher's list."""
    late = await add_image(catalog, "late", publish_due=NOW + timedelta(seconds=2))
    early = await add_image(catalog, "early", publish_due=NOW)
    await add_image(catalog, "published")
    assert [image.id for image in await catalog.due_images(NOW + timedelta(seconds=1), limit=9)] == [early.id]
    assert [image.id for image in await catalog.due_images(NOW + timedelta(seconds=2), limit=9)] == [early.id, late.id]
    assert [image.id for image in await catalog.due_images(NOW + timedelta(seconds=2), limit=1)] == [early.id]


async def test_what_could_not_be_read_is_due_oldest_first(catalog: Catalog) -> None:
    """The list of what the sweep has tried again: of images, and of contents."""
    soon, late = NOW, NOW + timedelta(seconds=2)
    later_image = await add_image(catalog, "late", retry_due=late)
    image = await add_image(catalog, "early", retry_due=soon)
    await add_image(catalog, "readable")
    later_content = await add_content(catalog, "a", retry_due=late)
    row = await add_content(catalog, "b", retry_due=soon)
    await add_content(catalog, "c")
    assert [found.id for found in await catalog.unreadable_images(soon, limit=9)] == [image.id]
    assert [found.id for found in await catalog.unreadable_images(late, limit=9)] == [image.id, later_image.id]
    assert await catalog.unreadable_images(late, limit=1) == [image]
    assert [found.id for found in await catalog.unreadable_contents(soon, limit=9)] == [row.id]
    assert await catalog.unreadable_contents(late, limit=9) == [row, later_content]


async def test_contents_are_paged_by_digest_and_by_vector(catalog: Catalog) -> None:
    """Both orders that reconcile walks in."""
    for letter, vector_id in (("a", 30), ("b", 10), ("c", 20)):
        await add_content(catalog, letter, vector_id=vector_id)
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


async def add_due(catalog: Catalog, key: str, bucket: str, moment: datetime, *, etag: str | None = "e") -> str:
    """Store an image and a content of a bucket, both to be looked at again at that moment; the image's id."""
    where = ObjectRef(bucket, key)
    blank = ImageRecord(where.image_id, *where, created_at=NOW, updated_at=NOW)
    fresh = ContentRecord(bucket, "a" * 64, vector_id=len(bucket), created_at=NOW)
    async with catalog.transaction() as tx:
        [image] = (await tx.lock_images([], create=[blank])).values()
        [row] = (await tx.lock_contents([], create=[fresh])).values()
        await tx.save_contents([replace(row, dirty_since=moment, resend_due=moment)])
        last_modified = NOW if etag else None
        await tx.save_images([replace(image, etag=etag, last_modified=last_modified, publish_due=moment)])
    return image.id


async def test_the_to_do_lists_are_of_the_buckets_that_are_indexed(catalog: Catalog) -> None:
    """What is due of another bucket stays due, and keeps nobody waiting, until its bucket is among them again."""
    later = NOW + timedelta(seconds=1)
    foreign = await add_due(catalog, "k", "gone", NOW)
    own = await add_due(catalog, "k", BUCKET, later)
    ours = copy(catalog)
    ours.buckets = (BUCKET,)  # type: ignore[attr-defined]
    assert [row.bucket for row in await ours.due_contents(later, limit=1)] == [BUCKET]
    assert [image.id for image in await ours.due_images(later, limit=1)] == [own]
    assert await ours.oldest_dirty() == later
    assert [row.bucket for row in await catalog.due_contents(later, limit=9)] == ["gone", BUCKET]
    assert [image.id for image in await catalog.due_images(later, limit=9)] == [foreign, own]
    assert await catalog.oldest_dirty() == NOW


async def test_the_ids_of_all_images_of_a_bucket_are_told(catalog: Catalog) -> None:
    """Of those without an object too, and of no other bucket's."""
    present = await add_due(catalog, "present", BUCKET, NOW)
    gone = await add_due(catalog, "gone", BUCKET, NOW, etag=None)
    await add_due(catalog, "present", "other", NOW)
    assert set(await catalog.image_ids(BUCKET, limit=9)) == {present, gone}
    assert len(await catalog.image_ids(BUCKET, limit=1)) == 1


async def test_progress_that_several_save_at_once_is_that_of_one(catalog: Catalog) -> None:
    """Two workers may compare the same bucket for a while: neither fails because the other was first."""
    await asyncio.gather(*[catalog.save_progress("job", number, NOW) for number in range(8)])
    assert await catalog.progress("job") in range(8)
