"""Putting files into a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.pictures import Source
from ops.upload import Uploaded, Uploader
from schemas.errors import ObjectStoreOutage
from schemas.records import ObjectRef
from schemas.settings import LimitSettings, RetrySettings, Settings
from stores.objects.folder import FolderObjects
from stores.objects.memory import MemoryObjects
from stores.objects.ports import ObjectWriter
from streams.common.backoff import OutageRetry, Outages

BUCKET = "pictures"
QUICK = RetrySettings(budget_s=0.2, wait_initial_s=0.01, wait_max_s=0.01, wait_jitter_s=0)


def sources(folder: Path, **files: bytes) -> list[Source]:
    """Files with these bytes, to be stored under their names and .jpg."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [Source(folder / name, f"{name}.jpg") for name in files]


async def upload(objects: ObjectWriter, wanted: list[Source], *, max_bytes: int = 1000) -> Uploaded:
    """Upload into the bucket, with little patience."""
    settings = Settings(limits=LimitSettings(max_object_bytes=max_bytes))
    advanced: list[int] = []
    uploader = Uploader(objects, OutageRetry(QUICK, Outages()), settings, BUCKET)
    result = await uploader.upload(wanted, lambda: advanced.append(1))
    assert len(advanced) == len(wanted)
    return result


async def test_files_become_objects(tmp_path: Path) -> None:
    """Bytes and content type arrive."""
    objects = MemoryObjects([BUCKET])
    wanted = sources(tmp_path, a=b"one", b=b"two")
    result = await upload(objects, wanted)
    assert sorted(result.added) == wanted
    assert objects.present(BUCKET) == {"a.jpg": b"one", "b.jpg": b"two"}
    state = await objects.head(ObjectRef(BUCKET, "a.jpg"))
    assert state is not None
    assert state.content_type == "image/jpeg"


async def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    """A second run writes nothing but what changed, so nothing is announced anew."""
    objects = MemoryObjects([BUCKET])
    await upload(objects, sources(tmp_path, a=b"one", b=b"two"))
    written: list[ObjectRef] = []
    objects.on_change.append(lambda ref, _: written.append(ref))
    result = await upload(objects, sources(tmp_path, a=b"one", b=b"TWO"))
    assert written == [ObjectRef(BUCKET, "b.jpg")]
    assert [source.key for source in result.unchanged] == ["a.jpg"]


async def test_a_store_whose_etag_is_no_md5_is_compared_by_bytes(tmp_path: Path) -> None:
    """The folder store's ETag says nothing of the bytes."""
    objects = FolderObjects(tmp_path / "buckets")
    await objects.ensure_bucket(BUCKET)
    await upload(objects, sources(tmp_path, a=b"one", b=b"two"))
    result = await upload(objects, sources(tmp_path, a=b"one", b=b"TWO"))
    await objects.close()
    assert [source.key for source in result.unchanged] == ["a.jpg"]
    assert [source.key for source in result.added] == ["b.jpg"]


async def test_a_file_that_can_not_be_added_does_not_stop_the_others(tmp_path: Path) -> None:
    """Each failure has its reason."""
    objects = MemoryObjects([BUCKET])
    wanted = sources(tmp_path, big=b"x" * 11, good=b"one", gone=b"", odd=b"two")
    (tmp_path / "gone").unlink()
    wanted[3] = Source(wanted[3].path, "a//b")
    result = await upload(objects, wanted, max_bytes=10)
    assert list(objects.present(BUCKET)) == ["good.jpg"]
    reasons = {source.path.name: reason for source, reason in result.failed}
    assert "more than the 10 of limits.max_object_bytes" in reasons["big"]
    assert "No such file" in reasons["gone"]
    assert "a segment is empty" in reasons["odd"]


async def test_a_short_outage_is_waited_out(tmp_path: Path) -> None:
    """A store that comes back within the budget costs no file."""
    objects = MemoryObjects([BUCKET])
    objects.outage = True

    class SeesItsEnd(Outages):
        def began(self, dependency: str, error: str) -> None:
            super().began(dependency, error)
            objects.outage = False

    uploader = Uploader(objects, OutageRetry(QUICK, SeesItsEnd()), Settings(), BUCKET)
    result = await uploader.upload(sources(tmp_path, a=b"one"), lambda: None)
    assert [source.key for source in result.added] == ["a.jpg"]


async def test_a_long_outage_is_raised(tmp_path: Path) -> None:
    """Beyond the budget the command ends, rather than calling every file broken."""
    objects = MemoryObjects([BUCKET])
    objects.outage = True
    with pytest.raises(ObjectStoreOutage):
        await upload(objects, sources(tmp_path, a=b"one"))
