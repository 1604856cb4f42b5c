"""What only files can do: links, hidden and unfinished ones, and other programs that change them."""

# ruff: noqa: ASYNC240 - the tests play the other programs, and these files are small.

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.errors import ObjectStoreOutage, RequestRefused
from schemas.records import ObjectRef
from stores.objects.folder import FolderObjects
from tests.harness.object_stores import keys_of, read_all, stream_all


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[FolderObjects]:
    """A folder store with the bucket `pictures` in the root `tmp_path/root`."""
    opened = FolderObjects(tmp_path / "root")
    await opened.ensure_bucket("pictures")
    yield opened
    await opened.close()


@pytest.fixture
def folder(tmp_path: Path, store: FolderObjects) -> Path:
    """The bucket as another program sees it."""
    assert store
    return tmp_path / "root" / "pictures"


def ref(key: str) -> ObjectRef:
    """A place in the bucket."""
    return ObjectRef("pictures", key)


async def test_files_of_other_programs_are_objects(store: FolderObjects, folder: Path) -> None:
    """A file that was simply copied there is an object with the type that its name promises."""
    (folder / "trip").mkdir()
    types = {"a.JPG": "image/jpeg", "b.webp": "image/webp", "c.avif": "image/avif", "d": "application/octet-stream"}
    for name in types:
        (folder / "trip" / name).write_bytes(b"bytes")
    assert await keys_of(store, "pictures") == [f"trip/{name}" for name in sorted(types)]
    for name, content_type in types.items():
        found = await read_all(store, ref(f"trip/{name}"))
        assert found is not None
        assert (found[0].content_type, found[1]) == (content_type, b"bytes")


async def test_objects_are_plain_files(store: FolderObjects, folder: Path) -> None:
    """What is put through the store lies under its key, for every program to open, and nothing lies beside it."""
    await store.put(ref("trip/ü 1.png"), b"bytes", content_type="image/x", metadata={"request-id": "1"})
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == ["trip/ü 1.png"]
    assert (folder / "trip" / "ü 1.png").read_bytes() == b"bytes"


@pytest.mark.parametrize("name", [".hidden.png", ".folder/a.png", "a.png.part", "a.png~", "a.png.crdownload"])
async def test_hidden_and_unfinished_files_are_no_objects(store: FolderObjects, folder: Path, name: str) -> None:
    """They aren't listed, and can't be asked for or stored."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"bytes")
    assert await keys_of(store, "pictures") == []
    with pytest.raises(RequestRefused):
        await store.head(ref(name))
    with pytest.raises(RequestRefused):
        await store.put(ref(name), b"", content_type="image/png")


async def test_nothing_outside_the_bucket_can_be_reached(store: FolderObjects, folder: Path, tmp_path: Path) -> None:
    """Links that lead out of the bucket are no objects, and nothing is written through them."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    other = tmp_path / "root" / "other"
    other.mkdir()
    (folder / "file.png").symlink_to(secret)
    (folder / "way").symlink_to(tmp_path)
    (folder / "neighbour").symlink_to(other)
    (folder / "up").symlink_to("..")
    assert await keys_of(store, "pictures") == []
    for key in ("file.png", "way/secret.png", "up/pictures/x.png"):
        assert await store.head(ref(key)) is None
        assert await read_all(store, ref(key)) is None
    for key in ("file.png", "way/new.png", "neighbour/new.png"):
        with pytest.raises(RequestRefused):
            await store.put(ref(key), b"x", content_type="image/png")
    assert secret.read_bytes() == b"secret"
    assert list(other.iterdir()) == []
    for bucket in ("..", ".twinlens"):
        with pytest.raises(RequestRefused):
            await keys_of(store, bucket)


async def test_links_within_the_bucket_are_objects(store: FolderObjects, folder: Path) -> None:
    """A link to another file of the bucket is read like it; folders that are links aren't entered."""
    (folder / "a.png").write_bytes(b"bytes")
    (folder / "b.png").symlink_to("a.png")
    (folder / "loop").symlink_to(".")
    assert await keys_of(store, "pictures") == ["a.png", "b.png"]
    found = await read_all(store, ref("b.png"))
    assert found is not None
    assert found[1] == b"bytes"


async def test_names_that_are_no_text_are_passed_over(store: FolderObjects, folder: Path) -> None:
    """A file whose name isn't UTF-8 can't be a key, and doesn't stop the listing."""
    (folder / "a.png").write_bytes(b"")
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png"))).write_bytes(b"")
    assert await keys_of(store, "pictures") == ["a.png"]


async def test_special_files_are_no_objects(store: FolderObjects, folder: Path) -> None:
    """A named pipe is neither listed nor opened, which would wait for ever."""
    os.mkfifo(folder / "pipe.png")
    assert await keys_of(store, "pictures") == []
    assert await asyncio.wait_for(read_all(store, ref("pipe.png")), 5) is None


async def test_a_replaced_file_has_no_notes_of_the_old_one(store: FolderObjects, folder: Path) -> None:
    """Content type and metadata belong to the version that was put, and not to what another program put there."""
    await store.put(ref("a.png"), b"1", content_type="image/x", metadata={"request-id": "1"})
    (folder / "new").write_bytes(b"2")
    (folder / "new").replace(folder / "a.png")
    state = await store.head(ref("a.png"))
    assert state is not None
    assert (state.content_type, state.metadata) == ("image/png", {})


async def test_same_size_changes_are_seen(store: FolderObjects, folder: Path) -> None:
    """Bytes overwritten in place, at once and with the same length, make another fingerprint."""
    path = folder / "a.png"
    seen = set()
    for n in range(10):
        path.write_bytes(b"%d" % n)
        found = await read_all(store, ref("a.png"))
        assert found is not None
        assert found[1] == b"%d" % n
        seen.add(found[0].fingerprint)
    assert len(seen) == 10


async def test_a_file_that_grows_is_read_as_one_version(store: FolderObjects, folder: Path) -> None:
    """While another program writes on, a read gives one version whole, or says that it keeps changing."""
    path, stop = folder / "a.png", threading.Event()
    path.write_bytes(b"")

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"x" * 1000)
                stop.wait(0.002)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(10):
            try:
                found = await read_all(store, ref("a.png"))
            except ObjectStoreOutage:
                continue
            assert found is not None
            assert len(found[1]) == found[0].size
    finally:
        stop.set()
        writer.join()
    found = await read_all(store, ref("a.png"))
    assert found is not None
    assert found[1] == path.read_bytes()


async def test_a_folder_in_the_way_is_refused(store: FolderObjects) -> None:
    """A key can't be both a file and a folder; the text says so, and it is no outage."""
    await store.put(ref("a/b.png"), b"", content_type="image/png")
    with pytest.raises(RequestRefused, match="in the way"):
        await store.put(ref("a"), b"", content_type="image/png")
    with pytest.raises(RequestRefused, match="in the way"):
        await store.put(ref("a/b.png/c.png"), b"", content_type="image/png")
    assert await store.head(ref("a/b.png/c.png")) is None


async def test_no_half_written_object_is_ever_seen(store: FolderObjects, folder: Path) -> None:
    """A program that looks at the file while it is put again and again sees only whole versions."""
    sizes = (200_000, 300_000)
    await store.put(ref("a.png"), b"x" * sizes[0], content_type="image/png")
    done = threading.Event()
    seen = set()

    def look() -> None:
        while not done.is_set():
            seen.add(len((folder / "a.png").read_bytes()))

    looker = threading.Thread(target=look)
    looker.start()
    for n in range(20):
        await store.put(ref("a.png"), b"x" * sizes[n % 2], content_type="image/png")
    done.set()
    looker.join()
    assert seen <= set(sizes)


async def test_a_stream_of_a_changed_file_breaks_off(store: FolderObjects, folder: Path) -> None:
    """A file that is overwritten in place under a reader is noticed, not mixed."""
    path = folder / "a.png"
    path.write_bytes(b"1" * 1_000_000)
    stream = store.stream(ref("a.png"))
    assert set(await anext(stream)) == set(b"1")
    path.write_bytes(b"2" * 1_000_001)
    with pytest.raises(Exception, match="changed"):
        await stream_all(stream)


async def test_a_bucket_that_vanishes_during_a_listing_is_an_outage(store: FolderObjects, folder: Path) -> None:
    """A listing that is cut short never looks complete."""
    for n in range(1200):
        (folder / f"{n:04}.png").touch()
    listing = store.list("pictures")
    await anext(listing)
    folder.rename(folder.parent / "away")
    with pytest.raises(ObjectStoreOutage):
        async for _ in listing:
            pass


@contextmanager
def swapped(folder: Path, outside: Path, place: str) -> Iterator[None]:
    """``trip/a.png`` of five bytes, or its folder, takes turns with a link to one of six outside the bucket."""
    (folder / "trip").mkdir()
    (folder / "trip" / "a.png").write_bytes(b"bytes")
    (outside / "a.png").write_bytes(b"secret")
    link, real, spare = outside / "link", folder / place, outside / "spare"
    link.symlink_to(outside / "a.png" if place.endswith(".png") else outside)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            real.rename(spare)
            link.rename(real)
            real.rename(link)
            spare.rename(real)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        yield
    finally:
        done.set()
        swapping.join()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["trip", "trip/a.png"])
async def test_a_link_swapped_in_while_a_file_is_read_shows_nothing(
    store: FolderObjects, folder: Path, tmp_path: Path, place: str
) -> None:
    """A file, or its folder, that takes turns with a link out of the bucket is read as the file or is gone."""
    with swapped(folder, tmp_path, place):
        found = [await read_all(store, ref("trip/a.png")) for _ in range(2_000)]
    assert {data for _, data in filter(None, found)} <= {b"bytes"}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["trip", "trip/a.png"])
async def test_a_link_swapped_in_while_a_bucket_is_listed_shows_nothing(
    store: FolderObjects, folder: Path, tmp_path: Path, place: str
) -> None:
    """Not even the size of what lies outside."""
    with swapped(folder, tmp_path, place):
        found = [state.size for _ in range(1_000) async for state in store.list("pictures")]
    assert set(found) <= {5}


async def test_links_in_circles_are_no_objects(store: FolderObjects, folder: Path) -> None:
    """They are neither listed nor found, and hold nothing up."""
    (folder / "a.png").symlink_to("b.png")
    (folder / "b.png").symlink_to("a.png")
    (folder / "c.png").write_bytes(b"bytes")
    assert [state.ref.key async for state in store.list("pictures")] == ["c.png"]
    assert await store.head(ref("a.png")) is None


async def test_nothing_is_made_or_removed_through_a_linked_folder(
    store: FolderObjects, folder: Path, tmp_path: Path
) -> None:
    """A put makes no folders, and a delete removes no file, where a link leads out of the bucket."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.png").write_bytes(b"bytes")
    (folder / "way").symlink_to(tmp_path / "outside")
    with pytest.raises(RequestRefused):
        await store.put(ref("way/new/b.png"), b"x", content_type="image/png")
    await store.delete(ref("way/a.png"))
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["a.png"]
