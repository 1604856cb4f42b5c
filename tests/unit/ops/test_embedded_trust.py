"""The embedded stack keeps what it was given: the store that it began with, and a folder that it could not use."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.embedded.announcing import announce_what_changed_meanwhile
from ops.embedded.errors import StackError
from ops.embedded.folder import NEEDED_BYTES, DataFolder, Store
from ops.embedded.searchable import catalog_agrees
from ops.embedded.stack import minio_or_folder
from ops.embedded.up import GALLERY_PREFIX, Options, has_others, run_up
from streams.assembly import for_comparing, for_reconcile
from streams.repair.drift import DriftKind
from tests.harness.installation import BUCKET
from tests.harness.pictures import picture
from tests.unit.reconcile.installation import Reconciled


@pytest.fixture
def minio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that could be MinIO, in the cache."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("TWINLENS_CACHE", str(tmp_path / "cache"))
    program = tmp_path / "cache" / "bin" / "minio"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    return program


def begun(tmp_path: Path, store: Store) -> DataFolder:
    """A data folder whose pictures are in this store."""
    folder = DataFolder(tmp_path / "data")
    with folder.held():
        folder.used = True
        folder.remember_store(store)
    return folder


def test_a_new_folder_gets_minio_if_there_is_one(tmp_path: Path, minio: Path) -> None:
    """And else a folder."""
    assert minio_or_folder(None, DataFolder(tmp_path / "new")) == minio
    minio.unlink()
    assert minio_or_folder(None, DataFolder(tmp_path / "new")) is None


@pytest.mark.usefixtures("minio")
def test_a_folder_store_stays_one_when_minio_appears(tmp_path: Path) -> None:
    """A binary in the cache moves no pictures; only --objects does."""
    folder = begun(tmp_path, Store.FOLDER)
    assert minio_or_folder(None, folder) is None
    assert minio_or_folder(Store.MINIO, folder) is not None


def test_minio_that_is_gone_is_not_replaced_by_an_empty_folder(tmp_path: Path, minio: Path) -> None:
    """It says where the pictures are, and what begins anew."""
    folder = begun(tmp_path, Store.MINIO)
    minio.unlink()
    with pytest.raises(StackError, match=r"the pictures of .*data are in MinIO, and no `minio` program was found"):
        minio_or_folder(None, folder)
    assert minio_or_folder(Store.FOLDER, folder) is None


def test_folders_of_earlier_versions_show_their_store(tmp_path: Path) -> None:
    """They have not written it down. What was begun with both is asked for."""
    folder = DataFolder(tmp_path)
    assert folder.store() is None
    folder.buckets.mkdir()
    assert folder.store() is Store.FOLDER
    folder.minio.mkdir()
    with pytest.raises(StackError, match="say --objects folder or --objects minio"):
        folder.store()


def test_what_could_not_begin_leaves_nothing_behind(tmp_path: Path) -> None:
    """Not even the folders above the one that was to be made; a folder that was there stays."""
    there = tmp_path / "there"
    there.mkdir()
    for path in (tmp_path / "new" / "inner", there):
        with pytest.raises(StackError, match="why not"), DataFolder(path).held():
            raise StackError("why not")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_what_was_begun_stays(tmp_path: Path) -> None:
    """Pictures and logs are there for the next run, however this one ended."""
    folder = DataFolder(tmp_path / "new")

    def begin() -> None:
        with folder.held():
            folder.used = True
            raise StackError("a server ended")

    with pytest.raises(StackError, match="a server ended"):
        begin()
    assert folder.path.exists()


@pytest.fixture(params=["size=256k", "ro"])
def unusable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A disk that is as good as full, and one that can't be written, with what is to be said of each."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"tmpfs can't be mounted here: {done.stderr.decode()}")
    yield folder, "Read-only file system" if request.param == "ro" else f"needs {NEEDED_BYTES >> 20} MiB"
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_cannot_be_used_is_told(unusable: tuple[Path, str]) -> None:
    """In one sentence that names it, before anything is started, and nothing is left on it."""
    folder, said = unusable
    with pytest.raises(StackError) as told:
        asyncio.run(run_up(Options(folder / "deep" / "data", port=0)))
    assert said in str(told.value)
    assert str(folder) in str(told.value)
    assert "\n" not in str(told.value)
    assert list(folder.iterdir()) == []


def test_a_full_disk_while_it_is_prepared_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file that can't be written is named, and half of it is not left."""

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StackError, match=r"state\.partial can't be written: No space left on device"):
        asyncio.run(run_up(Options(tmp_path / "data", port=0)))
    assert list(tmp_path.iterdir()) == []


async def test_what_is_missing_at_a_start_is_not_taken_out_of_the_catalog() -> None:
    """A bucket without half of its pictures may be another one, or not mounted: it is refused, with what to do."""
    installation = Reconciled()
    for number in range(60):
        installation.put(f"{number:02}.png", picture(number))
    await installation.reconcile()
    await installation.work()
    for number in range(30):
        installation.delete(f"{number:02}.png")
    refused: list[str] = []
    ports, retry = for_comparing(installation.ports), installation.retry
    reconciling = for_reconcile(installation.ports)
    await announce_what_changed_meanwhile(installation.settings, reconciling, retry, refused.append)
    await installation.work()
    assert [text.partition(" rows")[0] for text in refused] == ["30 of 60"]
    assert "`twinlens reconcile --force`" in refused[0]
    assert sum(image.exists for image in installation.catalog.image_rows.values()) == 60
    assert not await catalog_agrees([BUCKET], ports, retry)
    assert await catalog_agrees([BUCKET], ports, retry, but_for=[DriftKind.ORPHAN_ROW])


async def test_painted_pictures_are_for_a_collection_without_others() -> None:
    """An interrupted gallery is completed; pictures of one's own are left alone."""
    installation = Reconciled()
    objects = installation.ports.objects
    assert not await has_others(objects, BUCKET, GALLERY_PREFIX)
    installation.put("gallery/mountains-000.jpg", b"painted")
    assert not await has_others(objects, BUCKET, GALLERY_PREFIX)
    installation.put("holiday.jpg", b"own")
    assert await has_others(objects, BUCKET, GALLERY_PREFIX)
