"""Folders, and objects that a glob leaves out."""

from __future__ import annotations

import pytest

from schemas.records import ObjectRef
from schemas.settings import ObjectSettings
from stores.objects.left_out import LeftOut, VisibleObjects
from stores.objects.memory import MemoryObjects

LEFTOVERS = (
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
    "trip/@eaDir/a.jpg/thumb.jpg",
    "._a.jpg",
    "trip/._a.jpg",
    ".DS_Store",
    "trip/.DS_Store",
    "trip/Thumbs.db",
    "trip/desktop.ini",
    "trip/.thumbnails/a.jpg",
)
PICTURES = ("a.jpg", "trip/a.jpg", "trip/eaDir/a.jpg", "trip/a._b.jpg", "trip/Thumbs.db.jpg", "trip/thumbnails/a.jpg")


def reference(key: str) -> ObjectRef:
    """A place in the bucket."""
    return ObjectRef("pictures", key)


@pytest.mark.parametrize("key", LEFTOVERS)
def test_what_systems_leave_behind_is_left_out_by_default(key: str) -> None:
    """Synology's, macOS's, Windows's and GNOME's own files, at any depth."""
    assert LeftOut(ObjectSettings().exclude).excludes(key)


@pytest.mark.parametrize("key", PICTURES)
def test_pictures_of_similar_names_are_not(key: str) -> None:
    """Only whole names count."""
    assert not LeftOut(ObjectSettings().exclude).excludes(key)


async def test_what_is_left_out_is_not_there_but_for_a_listing() -> None:
    """HEAD and GET find neither folders nor excluded objects; who compares sees them."""
    stored = MemoryObjects(["pictures"])
    for key, data in (("a/", b""), ("b/", b"bytes"), ("c.tmp", b"bytes"), ("d.png", b"")):
        stored.put_now(reference(key), data)
    visible = VisibleObjects(stored, LeftOut(["*.tmp"]))
    found, read = [], []
    for key in stored.present("pictures"):
        if await visible.head(reference(key)) is not None:
            found.append(key)
        if await visible.read(reference(key), bytearray().extend, max_bytes=100) is not None:
            read.append(key)
    assert found == read == ["b/", "d.png"]
    assert [state.ref.key async for state in visible.list("pictures")] == ["a/", "b/", "c.tmp", "d.png"]
