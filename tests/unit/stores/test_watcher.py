"""The folder watcher on real files."""

# ruff: noqa: ASYNC240 - the tests play the other programs, and these files are small.

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from schemas.errors import ObjectStoreOutage
from schemas.messages import DELETE_EVENT, PUT_EVENT
from schemas.records import ObjectRef
from stores.objects.folder import FolderObjects
from stores.objects.watcher import FolderWatcher

pytestmark = pytest.mark.slow

DEADLINE_S = 10


class Seen:
    """What a watcher announced: the last event's name by key."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}
        self.count = 0
        self.more = asyncio.Condition()

    async def until_more(self) -> None:
        """Wait until something is announced from now on."""
        before = self.count
        async with self.more:
            await asyncio.wait_for(self.more.wait_for(lambda: self.count > before), DEADLINE_S)

    async def until(self, expected: dict[str, str]) -> None:
        """Wait until the last events are these."""

        def holds() -> bool:
            return self.last == expected

        async with self.more:
            try:
                await asyncio.wait_for(self.more.wait_for(holds), DEADLINE_S)
            except TimeoutError:
                assert self.last == expected


@asynccontextmanager
async def watching(root: Path, *buckets: str) -> AsyncIterator[Seen]:
    """A running watch, from the moment on that it misses nothing."""
    seen, started, stop = Seen(), asyncio.Event(), asyncio.Event()

    async def run() -> None:
        async for batch in FolderWatcher(root, buckets).watch(stop):
            started.set()
            async with seen.more:
                for change in batch:
                    seen.last[str(change.ref)] = change.event_name
                    seen.count += 1
                seen.more.notify_all()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run())
        await asyncio.wait_for(started.wait(), DEADLINE_S)
        yield seen
        stop.set()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The bucket's folder."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


async def test_new_changed_and_removed_files_are_announced(tmp_path: Path, pictures: Path) -> None:
    """Each change of a file leads to an event with its key, decoded."""
    async with watching(tmp_path, "pictures") as seen:
        (pictures / "ü 1+%.png").write_bytes(b"1")
        await seen.until({"pictures/ü 1+%.png": PUT_EVENT})
        seen.last.clear()
        (pictures / "ü 1+%.png").write_bytes(b"22")
        await seen.until({"pictures/ü 1+%.png": PUT_EVENT})
        (pictures / "ü 1+%.png").rename(pictures / "b.png")
        await seen.until({"pictures/ü 1+%.png": DELETE_EVENT, "pictures/b.png": PUT_EVENT})
        (pictures / "b.png").unlink()
        await seen.until({"pictures/ü 1+%.png": DELETE_EVENT, "pictures/b.png": DELETE_EVENT})


async def test_what_was_there_before_is_not_announced(tmp_path: Path, pictures: Path) -> None:
    """Only changes are, and also those of files that were there at the start."""
    (pictures / "old.png").write_bytes(b"")
    (pictures / "older.png").write_bytes(b"")
    async with watching(tmp_path, "pictures") as seen:
        (pictures / "old.png").unlink()
        await seen.until({"pictures/old.png": DELETE_EVENT})


async def test_folders_with_files_in_them_are_announced_file_by_file(tmp_path: Path, pictures: Path) -> None:
    """A folder that is moved in, renamed, moved out or removed takes all its files along."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    (outside / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", ".hidden.png"):
        (outside / name).write_bytes(b"x")
    async with watching(tmp_path, "pictures") as seen:
        outside.rename(pictures / "in")
        await seen.until({"pictures/in/a.png": PUT_EVENT, "pictures/in/sub/b.png": PUT_EVENT})
        seen.last.clear()
        (pictures / "in").rename(pictures / "re")
        await seen.until(
            {
                "pictures/in/a.png": DELETE_EVENT,
                "pictures/in/sub/b.png": DELETE_EVENT,
                "pictures/re/a.png": PUT_EVENT,
                "pictures/re/sub/b.png": PUT_EVENT,
            }
        )
        seen.last.clear()
        (pictures / "re" / "sub").rename(outside)
        await seen.until({"pictures/re/sub/b.png": DELETE_EVENT})
        shutil.rmtree(pictures / "re")
        await seen.until({"pictures/re/sub/b.png": DELETE_EVENT, "pictures/re/a.png": DELETE_EVENT})
        shutil.rmtree(outside)


async def test_folders_filled_at_once_are_complete(tmp_path: Path, pictures: Path) -> None:
    """Files that appear in new folders quicker than these can be watched aren't missed."""
    async with watching(tmp_path, "pictures") as seen:
        expected = {}
        for n in range(40):
            path = pictures / f"{n % 5}" / f"{n}" / f"{n}.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"x")
            expected[str(path.relative_to(tmp_path))] = PUT_EVENT
        await seen.until(expected)


async def test_only_objects_of_the_buckets_are_announced(tmp_path: Path, pictures: Path) -> None:
    """Hidden and unfinished files, other folders and the store's own files aren't; a finished download is."""
    other = tmp_path / "other"
    other.mkdir()
    store = FolderObjects(tmp_path)
    async with watching(tmp_path, "pictures") as seen:
        (other / "a.png").write_bytes(b"x")
        (pictures / ".hidden.png").write_bytes(b"x")
        (pictures / "a.png.part").write_bytes(b"x")
        (pictures / "a.png.part").rename(pictures / "a.png")
        await store.put(ObjectRef("pictures", "put.png"), b"x", content_type="image/png", metadata={"request-id": "1"})
        await seen.until({"pictures/a.png": PUT_EVENT, "pictures/put.png": PUT_EVENT})
    await store.close()


async def test_a_slow_writer_is_announced_at_the_end(tmp_path: Path, pictures: Path) -> None:
    """A file that grows for a while is announced again after its last write."""
    async with watching(tmp_path, "pictures") as seen:
        path = pictures / "a.png"
        with path.open("wb", buffering=0) as file:
            for _ in range(3):
                file.write(b"x")
                await seen.until_more()


async def test_a_bucket_that_goes_away_is_not_an_empty_one(tmp_path: Path, pictures: Path) -> None:
    """While its folder is gone nothing is announced as removed; when it is back, what changed meanwhile is."""
    for name in ("a.png", "b.png"):
        (pictures / name).write_bytes(b"x")
    away = tmp_path.parent / f"{tmp_path.name}-away"
    async with watching(tmp_path, "pictures", "second") as seen:
        pictures.rename(away)
        # Something else happens after it, so that its being handled can be waited for.
        (tmp_path / "second").mkdir()
        (tmp_path / "second" / "x.png").write_bytes(b"x")
        await seen.until({"second/x.png": PUT_EVENT})
        (away / "b.png").unlink()
        away.rename(pictures)
        await seen.until({"second/x.png": PUT_EVENT, "pictures/a.png": PUT_EVENT, "pictures/b.png": DELETE_EVENT})


async def test_a_missing_root_is_an_outage(tmp_path: Path) -> None:
    """Without the folder there is nothing to watch."""
    with pytest.raises(ObjectStoreOutage):
        async for _ in FolderWatcher(tmp_path / "nowhere", ["pictures"]).watch():
            pass
