"""The reading ports of the catalog, on SQLite, MariaDB and MySQL."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.errors import CatalogOutage
from schemas.lifecycle import new_image
from schemas.records import (
    ContentId,
    ContentRecord,
    ContentState,
    ImageState,
    Neighbour,
    ObjectRef,
    Reason,
)
from schemas.settings import DatabaseSettings
from schemas.tables import metadata
from stores.catalog.engine import create_engine
from stores.catalog.reading.ports import KEYS_PER_CONTENT, ImageFilter, ImageOrder, Position
from stores.catalog.reading.sql import SqlCatalogReader, open_reader
from stores.catalog.sql import SqlCatalog
from tests.harness.catalogs import SQL_BACKENDS, store_content, store_image

STARTED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ANY = ImageFilter()


def _engine(url: str) -> AsyncEngine:
    return create_engine(DatabaseSettings.model_validate({"url": url}))


@pytest.fixture(params=SQL_BACKENDS)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[AsyncEngine]:
    """A database with the tables."""
    memory = "sqlite+aiosqlite:///:memory:"
    url = memory if request.param == "sqlite" else request.getfixturevalue(f"{request.param}_url")
    engine = _engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield engine
    await engine.dispose()


def _sha(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class _Writer:
    """Rows as the workers write them, all that there is to say published; ``at`` seconds after the start."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._catalog = SqlCatalog(engine)

    async def content(self, name: str, vector_id: int, *, bucket: str = "b", at: float = 0, **more: Any) -> str:
        """A content, indexed unless told otherwise; its digest."""
        record = ContentRecord(
            bucket, _sha(name), vector_id=vector_id, state=ContentState.INDEXED, md5=_sha(name)[:32], version=1,
            format="jpeg", nearest=(Neighbour(_sha("x"), 12.5),), created_at=STARTED,
            indexed_at=STARTED + timedelta(seconds=at),
        )  # fmt: skip
        await store_content(self._catalog, replace(record, **more))
        return record.sha256

    async def image(self, key: str, content: str | None, *, bucket: str = "b", at: float = 0, **more: Any) -> str:
        """An image of an object that exists unless told otherwise; its id."""
        ref, moment = ObjectRef(bucket, key), STARTED + timedelta(seconds=at)
        record = replace(
            new_image(ref, moment), sha256=content, etag="e", size=10, last_modified=moment, content_type="image/png",
            metadata={"a": "ü"}, version=1,
        )  # fmt: skip
        await store_image(self._catalog, replace(record, **more))
        return ref.image_id


@pytest.fixture
def write(engine: AsyncEngine) -> _Writer:
    """Writes rows."""
    return _Writer(engine)


@pytest.fixture
def catalog(engine: AsyncEngine) -> SqlCatalogReader:
    """The reader."""
    return SqlCatalogReader(engine)


async def test_image_comes_with_its_content(catalog: SqlCatalogReader, write: _Writer) -> None:
    """An image is read with its content; one without content has none; a tombstone is no image."""
    digest = await write.content("one", 2**62)
    image_id = await write.image("a b/ü 😀%+.png", digest)
    bare = await write.image("large.png", None, reason=Reason("too_many_bytes"))
    gone = await write.image("gone.png", None, etag=None)
    found = await catalog.image(image_id)
    assert found is not None
    assert found.content is not None
    assert (found.image.key, found.image.metadata, found.image.created_at) == ("a b/ü 😀%+.png", {"a": "ü"}, STARTED)
    assert (found.content.vector_id, found.content.id, found.content.format) == (2**62, ("b", digest), "jpeg")
    assert found.state == (ImageState.INDEXED, None)
    several = await catalog.images([image_id, bare, gone, "0" * 32])
    assert set(several) == {image_id, bare}
    assert several[bare].state == (ImageState.REJECTED, "too_many_bytes")


async def test_keys_are_compared_by_their_bytes(catalog: SqlCatalogReader, write: _Writer) -> None:
    """Case, trailing blanks, accents and wildcards all make a difference, in keys, prefixes and external ids."""
    digest = await write.content("one", 1)
    keys = ["a", "A", "a ", "ä", "a%", "a_b", "ab", "b\u00ff", "b\U0010ffff"]
    for key in keys:
        await write.image(key, digest, external_id=f"id-{key}")
    for key in keys:
        for where in (ImageFilter(key=key), ImageFilter(external_id=f"id-{key}")):
            assert [each.image.key for each in await _page(catalog, where)] == [key]
        expected = {other for other in keys if other.startswith(key)}
        assert {each.image.key for each in await _page(catalog, ImageFilter(prefix=key))} == expected
    by_key = await catalog.page(ANY, order=ImageOrder.KEY, after=None, limit=50)
    assert [each.image.key for each in by_key] == sorted(keys, key=str.encode)


async def _page(catalog: SqlCatalogReader, where: ImageFilter) -> list[Any]:
    return await catalog.page(where, order=ImageOrder.OLDEST, after=None, limit=50)


@pytest.mark.parametrize("order", list(ImageOrder))
async def test_pages_join_up(catalog: SqlCatalogReader, write: _Writer, order: ImageOrder) -> None:
    """Going on after the last image of each page shows every image once; ``offset`` skips."""
    digest = await write.content("one", 1)
    for n in range(7):
        await write.image(f"{n * 5 % 7}", digest)
    await write.content("one", 2, bucket="c")
    await write.image("3", digest, bucket="c")
    whole = await catalog.page(ANY, order=order, after=None, limit=50)
    assert len(whole) == 8
    seen: list[str] = []
    after = None
    while page := await catalog.page(ANY, order=order, after=after, limit=3):
        seen += [each.image.id for each in page]
        last = page[-1].image
        after = Position(last.seq, last.bucket, last.key)
    assert seen == [each.image.id for each in whole]
    skipped = await catalog.page(ANY, order=order, after=None, limit=2, offset=3)
    assert [each.image.id for each in skipped] == seen[3:5]


async def test_states_divide_all_images(catalog: SqlCatalogReader, write: _Writer) -> None:
    """Every existing image is pending, indexed or rejected, as its record says, and counted so."""
    by_state = {}
    for n, stored in enumerate(ContentState):
        waiting = STARTED + timedelta(seconds=n) if stored is not ContentState.INDEXED else None
        digest = await write.content(
            str(stored), n, state=stored, reason=Reason("broken", "it is"), indexed_at=None, dirty_since=waiting
        )
        by_state[stored] = await write.image(str(stored), digest, at=n)
    placeholder = await write.image("no content yet", None)
    large = await write.image("large", None, reason=Reason("too_many_bytes"))
    await write.image("gone", None, etag=None)
    expected = {
        ImageState.PENDING: {by_state[ContentState.PENDING], by_state[ContentState.DELETING], placeholder},
        ImageState.INDEXED: {by_state[ContentState.INDEXED]},
        ImageState.REJECTED: {by_state[ContentState.REJECTED], large},
        ImageState.REMOVED: set(),
    }
    for state, ids in expected.items():
        listed = await _page(catalog, ImageFilter(state=state))
        assert {each.image.id for each in listed} == ids
        assert all(each.state[0] is state for each in listed)
        assert await catalog.count(ImageFilter(state=state)) == len(ids)
    counts = await catalog.statistics(None)
    assert (counts.objects, counts.pending, counts.indexed, counts.rejected) == (6, 3, 1, 2)
    assert (counts.bytes, counts.contents, counts.oldest_pending) == (60, 3, STARTED)
    assert await catalog.rejections(None) == {"broken": 1, "too_many_bytes": 1}
    nothing = await catalog.statistics("empty")
    assert (nothing.objects, nothing.pending, nothing.bytes, nothing.oldest_pending) == (0, 0, 0, None)


async def test_hits_join_vectors_with_matching_images(catalog: SqlCatalogReader, write: _Writer) -> None:
    """A vector leads to its content with the matching images, oldest first; what can't be a hit is left out."""
    shared = await write.content("shared", 10)
    for n in range(3):
        await write.image(f"{'x' if n % 2 else 'y'}/{n}", shared, at=n)
    pending = await write.content("pending", 11, state=ContentState.PENDING)
    await write.image("pending", pending)
    rejected = await write.content("rejected", 12, state=ContentState.REJECTED)
    await write.image("rejected", rejected)
    orphan = await write.content("orphan", 13)
    await write.image("gone", orphan, etag=None)
    found = await catalog.by_vector([10, 11, 12, 13, 999], ANY)
    assert {number: [image.key for image in each.images] for number, each in found.items()} == {
        10: ["y/0", "x/1", "y/2"],
        11: ["pending"],
    }
    assert found[10].total == 3
    narrowed = await catalog.by_vector([10, 11], ImageFilter(prefix="y/", created_from=STARTED + timedelta(seconds=1)))
    assert {number: [image.key for image in each.images] for number, each in narrowed.items()} == {10: ["y/2"]}
    assert sorted(set(await catalog.vector_ids(ANY, limit=10))) == [10, 11]
    assert len(await catalog.vector_ids(ANY, limit=1)) == 1
    assert await catalog.vector_ids(ImageFilter(prefix="x/"), limit=10) == [10]
    assert await catalog.by_vector([], ANY) == {}


async def test_vectors_and_digests_are_looked_up_together(catalog: SqlCatalogReader, write: _Writer) -> None:
    """Contents are found by either, or by both and then once, with the same answer as each alone."""
    for number, name in enumerate(("one", "two", "three", "four")):
        await write.image(name, await write.content(name, number))
    found = await catalog.hits([0, 2], [_sha("two"), _sha("three")], ANY)
    assert [each.content.vector_id for each in found] == [0, 1, 2]
    assert found == [*(await catalog.hits([0], (), ANY)), *(await catalog.hits((), [_sha("two"), _sha("three")], ANY))]
    assert await catalog.hits([3], [_sha("four")], ImageFilter(prefix="o")) == []


@pytest.mark.parametrize("objects", [KEYS_PER_CONTENT + 1, KEYS_PER_CONTENT + 2, KEYS_PER_CONTENT + 60])
async def test_many_copies_of_one_hide_no_other(catalog: SqlCatalogReader, write: _Writer, objects: int) -> None:
    """However many objects share the bytes of one hit, the other hits are there, and all are counted."""
    many = await write.content("many", 1)
    for n in range(objects - 1):
        await write.image(f"{n}", many)
    await write.image("other", await write.content("other", 2))
    found = {each.content.vector_id: each for each in await catalog.hits([1, 2], (), ANY)}
    assert {number: (len(each.images), each.total) for number, each in found.items()} == {
        1: (KEYS_PER_CONTENT, objects - 1),
        2: (1, 1),
    }


async def test_a_content_with_many_keys_names_some_and_counts_all(catalog: SqlCatalogReader, write: _Writer) -> None:
    """However many objects share their bytes, a hit names a bounded number of them, the oldest first."""
    shared = await write.content("shared", 10)
    for n in range(KEYS_PER_CONTENT + 5):
        await write.image(f"{n}", shared)
    [found] = await catalog.hits((), [shared], ANY)
    assert [image.key for image in found.images] == [str(n) for n in range(KEYS_PER_CONTENT)]
    assert found.total == KEYS_PER_CONTENT + 5
    [filtered] = await catalog.hits([10], (), ImageFilter(prefix="10"))
    assert [image.key for image in filtered.images] == ["10", "100", "101", "102", "103", "104"]
    assert filtered.total == 6
    assert await catalog.hits([10], [shared], ImageFilter(prefix="x")) == []


async def test_the_same_bytes_are_found_in_every_bucket(catalog: SqlCatalogReader, write: _Writer) -> None:
    """A digest leads to the contents of all buckets, oldest first, or of the one asked for."""
    for number, bucket in enumerate("cab"):
        await write.image("k", await write.content("same", number, bucket=bucket), bucket=bucket)
    assert [each.content.bucket for each in await catalog.hits((), [_sha("same")], ANY)] == ["c", "a", "b"]
    assert [each.content.bucket for each in await catalog.hits((), [_sha("same")], ImageFilter(bucket="a"))] == ["a"]
    assert await catalog.hits((), [], ANY) == []


async def test_filters_by_type_size_and_time(catalog: SqlCatalogReader, write: _Writer) -> None:
    """The type is what the bytes were found to be, or what was claimed until then; bounds are as documented."""
    jpeg = await write.content("jpeg", 1, format="jpeg")
    unknown = await write.content("unknown", 2, format=None, state=ContentState.PENDING)
    await write.image("jpeg", jpeg, size=10, at=0)
    await write.image("claimed", unknown, size=20, at=1)
    cases = [
        (ImageFilter(content_type="image/jpeg"), ["jpeg"]),
        (ImageFilter(content_type="image/png"), ["claimed"]),
        (ImageFilter(content_type="text/plain"), []),
        (ImageFilter(size_min=20), ["claimed"]),
        (ImageFilter(size_max=19), ["jpeg"]),
        (ImageFilter(created_from=STARTED + timedelta(seconds=1)), ["claimed"]),
        (ImageFilter(created_to=STARTED + timedelta(seconds=1)), ["jpeg"]),
        (ImageFilter(sha256=jpeg), ["jpeg"]),
        (ImageFilter(md5=jpeg[:32]), ["jpeg"]),
    ]
    for where, expected in cases:
        assert [each.image.key for each in await _page(catalog, where)] == expected, where


async def test_throughput_counts_by_minute(catalog: SqlCatalogReader, write: _Writer) -> None:
    """Contents are counted in the minute in which they were indexed, from a time on, per bucket or in all."""
    for n, at in enumerate((0, 10, 60, 200)):
        await write.content(f"{n}", n, at=at)
    await write.content("other", 9, bucket="c", at=60)
    minute = STARTED.replace(second=0, microsecond=0)
    assert await catalog.indexed_per_minute(minute, "b") == {
        minute: 2,
        minute + timedelta(minutes=1): 1,
        minute + timedelta(minutes=3): 1,
    }
    assert sum((await catalog.indexed_per_minute(minute + timedelta(minutes=1), None)).values()) == 3


async def test_shared_bytes_are_walked_in_order(catalog: SqlCatalogReader, write: _Writer) -> None:
    """Contents with two existing objects or more come in the order of bucket and digest, page by page."""
    expected = []
    for number, (bucket, name, count) in enumerate(
        [("b", "one", 2), ("b", "two", 1), ("b", "three", 3), ("a", "one", 2)]
    ):
        digest = await write.content(name, number, bucket=bucket)
        for n in range(count):
            await write.image(f"{name}{n}", digest, bucket=bucket)
        await write.image(f"{name} gone", digest, bucket=bucket, etag=None)
        if count > 1:
            expected.append(((bucket, digest), count))
    expected.sort()
    found = []
    after = None
    while page := await catalog.same_bytes(None, after=after, limit=2):
        found += [((each.content_id.bucket, each.content_id.sha256), each.objects) for each in page]
        after = page[-1].content_id
    assert found == expected
    assert len(await catalog.same_bytes("b", after=None, limit=10)) == 2
    several = await catalog.of_contents([ContentId(*pair) for pair, _ in expected])
    assert [several[ContentId(*pair)].total for pair, _ in expected] == [count for _, count in expected]


async def test_contents_are_walked_by_vector_id(catalog: SqlCatalogReader, write: _Writer) -> None:
    """Indexed contents come in the order of their vector ids, whatever their bucket, or of one bucket."""
    for number, bucket, state in (
        (5, "b", "indexed"),
        (2**62, "a", "indexed"),
        (7, "a", "pending"),
        (6, "a", "indexed"),
    ):
        await write.content(f"{number}", number, bucket=bucket, state=state)
    assert [each.vector_id for each in await catalog.contents_after(-1, bucket=None, limit=10)] == [5, 6, 2**62]
    assert [each.vector_id for each in await catalog.contents_after(5, bucket="a", limit=1)] == [6]


async def test_other_buckets_are_not_there(engine: AsyncEngine, catalog: SqlCatalogReader, write: _Writer) -> None:
    """Rows of a bucket that is not indexed any more are neither found, listed nor counted, whoever asks for them."""
    ids = {}
    for number, bucket in enumerate(("kept", "gone")):
        await write.content(bucket, number, bucket=bucket)
        ids[bucket] = await write.image(f"{bucket}.png", _sha(bucket), bucket=bucket)
        await write.image(f"{bucket} again.png", _sha(bucket), bucket=bucket)
        await write.image(f"{bucket}.txt", None, bucket=bucket, reason=Reason("empty"))
    everything = (ANY, ImageFilter(bucket="gone"), ImageFilter(key="gone.png"))
    assert all([await catalog.count(where) for where in everything])
    ours = SqlCatalogReader(engine, ("kept", "empty"))
    assert [await ours.count(where) for where in everything] == [3, 0, 0]
    assert {each.image.bucket for each in await _page(ours, ANY)} == {"kept"}
    assert set(await ours.images(list(ids.values()))) == {ids["kept"]}
    digests = [_sha("kept"), _sha("gone")]
    assert {each.content.bucket for each in await ours.hits([0, 1], digests, ANY)} == {"kept"}
    assert await ours.hits([1], digests, ImageFilter(bucket="gone")) == []
    assert set(await ours.vector_ids(ANY, limit=9)) == {0}
    numbers = await ours.statistics(None)
    assert (numbers.objects, numbers.contents) == (3, 1)
    assert (await ours.statistics("gone")).objects == 0
    assert await ours.rejections(None) == {"empty": 1}
    assert sum((await ours.indexed_per_minute(STARTED - timedelta(days=1), None)).values()) == 1
    assert await ours.indexed_per_minute(STARTED - timedelta(days=1), "gone") == {}
    assert [each.content_id.bucket for each in await ours.same_bytes(None, after=None, limit=9)] == ["kept"]
    both = [ContentId(bucket, _sha(bucket)) for bucket in ids]
    assert set(await ours.of_contents(both)) == {both[0]}
    assert [each.bucket for each in await ours.contents_after(-1, bucket=None, limit=9)] == ["kept"]


async def test_check(catalog: SqlCatalogReader) -> None:
    """A database with our tables passes."""
    await catalog.check()


@pytest.mark.parametrize("url", ["mysql+asyncmy://root:x@127.0.0.1:1/x", "sqlite+aiosqlite:////no/such/folder/x.db"])
async def test_a_database_that_is_away_is_an_outage(url: str) -> None:
    """A server that refuses, or a file that can't be opened, is an outage."""
    catalog = SqlCatalogReader(_engine(url))
    with pytest.raises(CatalogOutage):
        await catalog.check()
    await catalog.close()


async def _connection_ids(catalog: SqlCatalogReader) -> list[int]:
    [row] = await catalog._rows(select(func.connection_id().label("n")))
    return [row.n]


async def test_a_connection_that_was_closed_is_replaced(mysql_url: str) -> None:
    """When the server ends idle connections, the next read is answered all the same, on a new one."""
    catalog, other = open_reader(DatabaseSettings.model_validate({"url": mysql_url})), _engine(mysql_url)
    [before] = await _connection_ids(catalog)
    async with other.connect() as connection:
        await connection.execute(text(f"KILL {before}"))
    [after] = await _connection_ids(catalog)
    assert after != before
    await catalog.close()
    await other.dispose()


async def test_a_cancelled_read_leaves_nothing_behind(mysql_url: str) -> None:
    """A read that is given up half-way takes its connection along: the next read gets its own answer."""
    catalog = open_reader(DatabaseSettings.model_validate({"url": mysql_url, "pool_size": 1}))
    await _connection_ids(catalog)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await catalog._rows(select(func.sleep(5).label("n")))
        assert (await catalog._rows(select(literal(7).label("n"))))[0].n == 7
    await catalog.close()


async def test_a_read_sees_what_was_committed_a_moment_ago(mysql_url: str) -> None:
    """No read goes on in the snapshot of one before it."""
    catalog, engine = open_reader(DatabaseSettings.model_validate({"url": mysql_url})), _engine(mysql_url)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    write = _Writer(engine)
    for count in range(3):
        assert await catalog.count(ANY) == count
        await write.image(f"{count}", None)
    await catalog.close()
    await engine.dispose()
