"""What identifies a version of a file, and what is remembered of it that a plain file can't carry."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from schemas.records import ANY_TYPE, ObjectRef, ObjectState
from stores.objects.folder_layout import HIDDEN_FOLDER

_TYPES: Final = mimetypes.MimeTypes()
for _ending, _type in {"webp": "webp", "avif": "avif", "heic": "heic", "jxl": "jxl", "jfif": "jpeg"}.items():
    _TYPES.add_type(f"image/{_type}", f".{_ending}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def etag_of(stat: os.stat_result) -> str:
    """Changes with every new file and every write that the file system can tell apart."""
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"


def last_modified_of(stat: os.stat_result) -> datetime:
    """The time of the last write in UTC, in whole microseconds."""
    return _EPOCH + timedelta(microseconds=stat.st_mtime_ns // 1000)


def guessed_type(key: str) -> str:
    """The content type that the key's ending promises."""
    return _TYPES.guess_type(key.rpartition("/")[2])[0] or ANY_TYPE


class Notes:
    """Content types and user metadata of stored objects, one small file per version that needs one.

    A note is named by the version's ETag, so that it can be written before the object appears, and never applies to a
    file that another program put in its place.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / HIDDEN_FOLDER / "notes"

    def state(self, ref: ObjectRef, stat: os.stat_result) -> ObjectState:
        """The object's state with what was noted of this version."""
        etag = etag_of(stat)
        try:
            note = json.loads((self._of(ref) / etag).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            note = {}
        return ObjectState(
            ref=ref,
            etag=etag,
            size=stat.st_size,
            last_modified=last_modified_of(stat),
            content_type=note.get("content_type", guessed_type(ref.key)),
            metadata=note.get("metadata", {}),
        )

    def write(self, ref: ObjectRef, etag: str, content_type: str, metadata: Mapping[str, str]) -> None:
        """Remember these of the version, unless they are what would be said of it anyway."""
        if not metadata and content_type == guessed_type(ref.key):
            return
        folder = self._of(ref)
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{secrets.token_hex(8)}"
        partial.write_text(json.dumps({"content_type": content_type, "metadata": dict(metadata)}), encoding="utf-8")
        partial.rename(folder / etag)

    def forget(self, ref: ObjectRef, *, keep: str | None = None) -> None:
        """Remove the notes of all versions except ``keep``."""
        folder = self._of(ref)
        try:
            for note in folder.iterdir():
                if note.name != keep:
                    note.unlink(missing_ok=True)
            if keep is None:
                folder.rmdir()
        except OSError:
            # What stays behind belongs to versions that never come again.
            return

    def _of(self, ref: ObjectRef) -> Path:
        return self._folder / ref.bucket / hashlib.sha256(ref.key.encode()).hexdigest()
