"""What every object store must do: MinIO, versitygw, a folder, and the one in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest
import pytest_asyncio
from minio import Minio

from schemas.errors import ObjectStoreOutage, ObjectTooLarge, PreconditionFailed, RequestRefused
from schemas.records import ObjectRef
from stores.objects.folder import FolderObjects
from stores.objects.memory import MemoryObjects
from stores.objects.s3 import S3Objects
from tests.harness.object_stores import Case, keys_of, read_all, s3_settings, stream_all
from tests.harness.stack.cleanup import remove_bucket, s3_client
from tests.harness.stack.fixtures import Servers
from tests.harness.stack.minio import new_credentials
from tests.harness.stack.process import free_port
from tests.harness.stack.stack import Addresses
from tests.harness.stack.versitygw import versitygw_server

pytestmark = pytest.mark.asyncio

LONG_KEY: Final = "/".join(["x" * 224] * 4)
KEYS: Final = (
    "plain.jpg",
    "a folder/with a space.png",
    "plus+plus.png",
    "100% %2F %20.png",
    "ümläut/ß.png",
    "emoji 😀/🏔️.png",
    "question?mark#hash&and=is;semi:colon,comma@at!.png",
    "quote'\"double\\back<>|*.png",
    "new\nline.png",
    " leading and trailing .png ",
    "(1) [2] {3} ~x $y ^z `q`.png",
    LONG_KEY,
)
REFUSED: Final = ("", "/a", "a//b", "./a", "a/./b", "a/../b", "..", "a/..", "a\0b", "x" * 1025, "\ud800.png")


def _s3_case(request: pytest.FixtureRequest) -> Case:
    servers: Servers = request.getfixturevalue("servers")
    client: Minio = request.getfixturevalue("s3")
    bucket: str = request.getfixturevalue("bucket")
    store = S3Objects(s3_settings(servers.need("minio")))
    return Case(
        "s3", store, bucket, lambda: remove_bucket(client, bucket), lambda: client.make_bucket(bucket), client=client
    )


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """Another S3 server than MinIO, which announces nothing; only its address and keys are there."""
    credentials, port = new_credentials(), free_port()
    folder = tmp_path_factory.mktemp("versitygw")
    server = versitygw_server(folder, folder / "logs", port, credentials)
    server.start()
    yield Addresses("", f"127.0.0.1:{port}", credentials.access_key, credentials.secret_key, "", "")
    server.stop()


def _versitygw_case(request: pytest.FixtureRequest) -> Case:
    addresses: Addresses = request.getfixturevalue("versitygw")
    bucket: str = request.getfixturevalue("unique_name")
    client = s3_client(addresses)
    client.make_bucket(bucket)
    return Case(
        "versitygw",
        S3Objects(s3_settings(addresses)),
        bucket,
        lambda: remove_bucket(client, bucket),
        lambda: client.make_bucket(bucket),
        client=client,
    )


def _folder_case(root: Path) -> Case:
    present, away = root / "pictures", root / ".away"
    present.mkdir()
    store = FolderObjects(root)
    return Case(
        name="folder",
        store=store,
        bucket="pictures",
        hide_bucket=lambda: _move(present, away),
        show_bucket=lambda: _move(away, present),
        folder=present,
    )


def _move(source: Path, target: Path) -> None:
    source.rename(target)


def _memory_case() -> Case:
    store = MemoryObjects(["pictures"])
    return Case(
        name="memory",
        store=store,
        bucket="pictures",
        hide_bucket=lambda: store.missing.add("pictures"),
        show_bucket=lambda: store.missing.discard("pictures"),
    )


@pytest_asyncio.fixture(params=["memory", "folder", "s3", "versitygw"])
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    """A store with an empty bucket."""
    if request.param == "s3":
        made = _s3_case(request)
    elif request.param == "versitygw":
        made = _versitygw_case(request)
    else:
        made = _folder_case(tmp_path) if request.param == "folder" else _memory_case()
    yield made
    await made.store.close()


@pytest.mark.parametrize("key", KEYS)
async def test_any_key_names_one_object(case: Case, key: str) -> None:
    """What is stored under a key is found, listed, read and deleted under exactly this key."""
    await case.put(key, b"bytes")
    state = await case.store.head(case.ref(key))
    assert state is not None
    assert (state.ref, state.size) == (case.ref(key), 5)
    assert await keys_of(case.store, case.bucket) == [key]
    assert await read_all(case.store, case.ref(key)) == (state, b"bytes")
    assert await stream_all(case.store.stream(case.ref(key))) == b"bytes"
    await case.store.delete(case.ref(key))
    assert await case.store.head(case.ref(key)) is None
    assert await keys_of(case.store, case.bucket) == []


@pytest.mark.parametrize("key", REFUSED)
async def test_keys_that_can_not_be_addressed_are_refused(case: Case, key: str) -> None:
    """A key that a path would normalise, or that S3 doesn't allow, is refused as such, and never as an outage."""
    await case.put("a")
    await case.put("b")
    ref = case.ref(key)
    for call in (
        case.store.head(ref),
        read_all(case.store, ref),
        stream_all(case.store.stream(ref)),
        case.store.put(ref, b"", content_type="image/png"),
        case.store.delete(ref),
        case.store.presigned_url(ref, expires_s=60, content_type="image/png"),
    ):
        with pytest.raises(RequestRefused):
            await call
    assert await keys_of(case.store, case.bucket) == ["a", "b"]


async def test_too_long_segments_are_refused(case: Case) -> None:
    """A segment above 255 bytes, which neither MinIO nor a file system takes, is refused."""
    if case.name == "memory":
        # The store in memory allows what S3 allows.
        assert await case.put("x" * 256)
        return
    with pytest.raises(RequestRefused):
        await case.put("x" * 256)
    with pytest.raises(RequestRefused):
        await case.store.head(case.ref("x" * 256))


@pytest.mark.parametrize("bucket", ["", "A", "ab", "with space", "../up", "a/b", "x" * 64, ".hidden", "a..b"])
async def test_odd_bucket_names_are_refused(case: Case, bucket: str) -> None:
    """A name that S3 doesn't allow for a bucket reaches neither server nor file system."""
    with pytest.raises(RequestRefused):
        await case.store.head(ObjectRef(bucket, "a.png"))
    with pytest.raises(RequestRefused):
        await keys_of(case.store, bucket)
    with pytest.raises(RequestRefused):
        await case.store.ensure_bucket(bucket)


async def test_a_missing_object_is_none(case: Case) -> None:
    """In a bucket that is there, no object is an answer."""
    ref = case.ref("nothing/here.png")
    assert await case.store.head(ref) is None
    assert await read_all(case.store, ref) is None
    with pytest.raises(PreconditionFailed):
        await stream_all(case.store.stream(ref))
    await case.store.delete(ref)


async def test_a_folder_of_objects_is_no_object(case: Case) -> None:
    """The part of a key before a slash names nothing."""
    await case.put("folder/picture.png")
    assert await case.store.head(case.ref("folder")) is None
    assert await read_all(case.store, case.ref("folder")) is None


async def test_a_missing_bucket_is_an_outage(case: Case) -> None:
    """While the bucket is away nothing is said to be missing from it, and it is not made anew by a put."""
    await case.put("a.png")
    case.hide_bucket()
    for key in ("a.png", "never/there.png"):
        ref = case.ref(key)
        for call in (
            case.store.head(ref),
            read_all(case.store, ref),
            stream_all(case.store.stream(ref)),
            case.store.put(ref, b"", content_type="image/png"),
            case.store.put(ref, b"", content_type="image/png", if_match="x"),
            case.store.delete(ref),
            keys_of(case.store, case.bucket),
            keys_of(case.store, case.bucket, prefix="never/"),
            case.store.check(case.bucket),
        ):
            with pytest.raises(ObjectStoreOutage):
                await call
    case.show_bucket()
    await case.store.check(case.bucket)
    assert await case.store.head(case.ref("never/there.png")) is None


async def test_metadata_and_type_come_back(case: Case) -> None:
    """Content type and user metadata are the object's state, from `head` and `read` alike."""
    ref = case.ref("a.dat")
    given = {"External-Id": "a%20b", "request-id": "42"}
    await case.store.put(ref, b"x", content_type="image/webp", metadata=given)
    head, read = await case.store.head(ref), await read_all(case.store, ref)
    assert head is not None
    assert read is not None
    assert head == read[0]
    assert head.content_type == "image/webp"
    assert head.metadata == {"external-id": "a%20b", "request-id": "42"}
    await case.store.put(ref, b"y", content_type="image/png")
    changed = await case.store.head(ref)
    assert changed is not None
    assert (changed.content_type, changed.metadata) == ("image/png", {})


async def test_states_agree_wherever_they_come_from(case: Case) -> None:
    """`head`, `read` and `list` give one fingerprint, so that a listed object needs no second look."""
    etag = await case.put("a/b.png", b"12345")
    head, read = await case.store.head(case.ref("a/b.png")), await read_all(case.store, case.ref("a/b.png"))
    [listed] = [state async for state in case.store.list(case.bucket)]
    assert head is not None
    assert read is not None
    assert head.fingerprint == read[0].fingerprint == listed.fingerprint
    assert head.etag == etag
    assert head.last_modified.tzinfo is not None
    assert abs(head.last_modified - datetime.now(UTC)) < timedelta(minutes=1)


async def test_an_overwrite_changes_the_fingerprint(case: Case) -> None:
    """Other bytes under a key are another version."""
    await case.put("a.png", b"one")
    before = await case.store.head(case.ref("a.png"))
    await case.put("a.png", b"two")
    after = await read_all(case.store, case.ref("a.png"))
    assert before is not None
    assert after is not None
    assert after[0].fingerprint != before.fingerprint
    assert after[1] == b"two"


@pytest.mark.parametrize("size", [0, 1, 65_536, 262_144, 3_000_001])
async def test_every_byte_is_read(case: Case, size: int) -> None:
    """Objects of any size come back whole, up to the limit itself."""
    data = hashlib.shake_128(b"seed").digest(size)
    await case.put("a.png", data)
    found = await read_all(case.store, case.ref("a.png"), max_bytes=size)
    assert found is not None
    assert found[1] == data
    assert found[0].size == size


async def test_an_object_over_the_limit_is_not_read(case: Case) -> None:
    """Beyond `max_bytes` it is a fact about the object, and the sink sees nothing."""
    await case.put("a.png", b"x" * 1001)
    seen: list[bytes] = []
    with pytest.raises(ObjectTooLarge, match="1,001"):
        await case.store.read(case.ref("a.png"), seen.append, max_bytes=1000)
    assert seen == []


async def test_an_error_of_the_sink_is_passed_on(case: Case) -> None:
    """What the sink raises reaches the caller as it is, and the store goes on working."""
    await case.put("a.png", b"x" * 2_000_000)

    def sink(_: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await case.store.read(case.ref("a.png"), sink, max_bytes=2**25)
    assert await read_all(case.store, case.ref("a.png")) is not None


async def test_ranges_are_streamed(case: Case) -> None:
    """Offset and length cut out exactly these bytes; beyond the end there is nothing."""
    data = bytes(range(256)) * 3000
    await case.put("a.png", data)
    ref = case.ref("a.png")
    for offset, length in ((0, None), (10, 5), (0, 1), (700_000, None), (767_999, 10), (768_000, None), (9, 0)):
        end = None if length is None else offset + length
        streamed = await stream_all(case.store.stream(ref, offset=offset, length=length))
        assert streamed == data[offset:end]
    assert await stream_all(case.store.stream(ref, offset=10_000_000)) == b""


async def test_a_stream_is_of_one_version(case: Case) -> None:
    """With an ETag, another version is a failed precondition, before and after the object is gone."""
    ref = case.ref("a.png")
    first = await case.put("a.png", b"one")
    assert await stream_all(case.store.stream(ref, etag=first)) == b"one"
    await case.put("a.png", b"two")
    with pytest.raises(PreconditionFailed):
        await stream_all(case.store.stream(ref, etag=first))
    await case.store.delete(ref)
    with pytest.raises(PreconditionFailed):
        await stream_all(case.store.stream(ref, etag=first))


async def test_an_unfinished_stream_can_be_left(case: Case) -> None:
    """A reader that goes away after the first piece leaves the store usable."""
    await case.put("a.png", b"x" * 3_000_000)
    for _ in range(20):
        stream = case.store.stream(case.ref("a.png"))
        assert await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
    assert len(await stream_all(case.store.stream(case.ref("a.png")))) == 3_000_000


async def test_conditional_puts(case: Case) -> None:
    """`if_absent` and `if_match` hold or fail, and a failed put changes nothing."""
    ref = case.ref("deep/a.png")
    with pytest.raises(PreconditionFailed):
        await case.store.put(ref, b"0", content_type="image/png", if_match="d41d8cd98f00b204e9800998ecf8427e")
    first = await case.store.put(ref, b"1", content_type="image/png", if_absent=True)
    with pytest.raises(PreconditionFailed):
        await case.store.put(ref, b"2", content_type="image/png", if_absent=True)
    second = await case.store.put(ref, b"3", content_type="image/png", if_match=first)
    with pytest.raises(PreconditionFailed):
        await case.store.put(ref, b"4", content_type="image/png", if_match=first)
    found = await read_all(case.store, ref)
    assert found is not None
    assert (found[0].etag, found[1]) == (second, b"3")


async def test_only_one_of_many_creators_wins(case: Case) -> None:
    """Of concurrent puts with `if_absent` exactly one succeeds, and its bytes stay."""
    ref = case.ref("a.png")
    puts = [case.store.put(ref, str(n).encode(), content_type="image/png", if_absent=True) for n in range(8)]
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    winners = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, str)]
    assert len(winners) == 1
    assert all(isinstance(outcome, str | PreconditionFailed) for outcome in outcomes)
    found = await read_all(case.store, ref)
    assert found is not None
    assert found[1] == str(winners[0]).encode()


async def test_reads_during_overwrites_are_of_one_version(case: Case) -> None:
    """However often an object is overwritten, state and bytes of each read belong together."""
    ref, size = case.ref("a.png"), 400_000
    versions = {await case.put("a.png", bytes([0]) * size): 0}

    async def write() -> None:
        for n in range(1, 15):
            versions[await case.put("a.png", bytes([n]) * size)] = n

    writing = asyncio.create_task(write())
    seen = []
    while not writing.done():
        seen.append(await read_all(case.store, ref))
    await writing
    assert seen
    for found in seen:
        assert found is not None
        assert set(found[1]) == {versions[found[0].etag]}
        assert len(found[1]) == size


async def test_listing_is_in_the_order_of_the_keys_bytes(case: Case) -> None:
    """Folders and files are mixed as their keys sort, with a prefix and a start that need not exist."""
    keys = ["a", "a b", "a-b/1", "a.png", "a0", "b!/x", "b/1", "b/2/3", "b/2/4", "b0", "c/d/e/f", "z", "ä", "😀"]
    for key in keys:
        await case.put(key)
    expected = sorted(keys, key=str.encode)
    assert await keys_of(case.store, case.bucket) == expected
    assert await keys_of(case.store, case.bucket, prefix="b/") == ["b/1", "b/2/3", "b/2/4"]
    assert await keys_of(case.store, case.bucket, prefix="b") == ["b!/x", "b/1", "b/2/3", "b/2/4", "b0"]
    assert await keys_of(case.store, case.bucket, prefix="a-b/1") == ["a-b/1"]
    assert await keys_of(case.store, case.bucket, prefix="nothing/") == []
    for start in (*expected, "b/", "b/2", "b/2/", "b/2/3x", "a-", "zz", "c/d/e/f/g"):
        after = [key for key in expected if key.encode() > start.encode()]
        assert await keys_of(case.store, case.bucket, start_after=start) == after
    assert await keys_of(case.store, case.bucket, prefix="b/", start_after="b/1") == ["b/2/3", "b/2/4"]


async def test_long_listings_are_complete(case: Case) -> None:
    """More objects than a page are listed once each."""
    keys = [f"{n % 7}/{n:05}.png" for n in range(1203)]
    gate = asyncio.Semaphore(16)

    async def put(key: str) -> None:
        async with gate:
            await case.put(key, b"")

    await asyncio.gather(*map(put, keys))
    assert await keys_of(case.store, case.bucket) == sorted(keys)
    assert await keys_of(case.store, case.bucket, start_after=sorted(keys)[1000]) == sorted(keys)[1001:]


async def test_links_read_the_object_or_are_not_offered(case: Case) -> None:
    """A presigned link gives the bytes with the type that the caller chose, inline."""
    await case.put("a folder/ü+%.png", b"bytes")
    ref = case.ref("a folder/ü+%.png")
    link = await case.store.presigned_url(ref, expires_s=60, content_type="image/jpeg")
    if link is None:
        assert case.name != "s3"
        return
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(link)
    assert answer.content == b"bytes"
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"] == "inline"


async def test_a_bucket_is_made_once(case: Case) -> None:
    """`ensure_bucket` can be repeated, also at once, and keeps what is there."""
    await case.put("a.png")
    await case.store.ensure_bucket(case.bucket)
    assert await keys_of(case.store, case.bucket) == ["a.png"]
    fresh = f"{case.bucket}-fresh"
    with pytest.raises(ObjectStoreOutage):
        await case.store.check(fresh)
    await asyncio.gather(*(case.store.ensure_bucket(fresh) for _ in range(3)))
    await case.store.check(fresh)
    assert await keys_of(case.store, fresh) == []
    if case.client is not None:
        case.client.remove_bucket(fresh)


async def test_many_calls_at_once_are_all_answered(case: Case) -> None:
    """More concurrent calls than the store has threads are all served."""
    await asyncio.gather(*(case.put(f"{n}.png", str(n).encode()) for n in range(60)))
    found = await asyncio.gather(*(read_all(case.store, case.ref(f"{n}.png")) for n in range(60)))
    assert [pair[1] for pair in found if pair] == [str(n).encode() for n in range(60)]
