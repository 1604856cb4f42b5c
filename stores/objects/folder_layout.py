"""Where the objects of a folder store lie: keys to paths, what counts as an object, and the walk in key order."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from schemas.errors import RequestRefused
from schemas.records import KEY_MAX_BYTES, ObjectRef
from stores.objects.keys import checked_ref

HIDDEN_FOLDER: Final = ".twinlens"
"""In the root beside the buckets: temporary files, and what a plain file can't carry."""
_MAX_NAME_BYTES: Final = 255
_UNFINISHED: Final = (".part", "~", ".crdownload")


def is_object_name(name: str) -> bool:
    """Whether a file of this name can be an object: not hidden, not an editor's or a download's unfinished file."""
    return not name.startswith(".") and not name.endswith(_UNFINISHED) and _is_text(name)


def path_of(root: Path, ref: ObjectRef) -> Path:
    """The path that the object has, or would have. Raises RequestRefused for a key that no file can stand for."""
    segments = checked_ref(ref).key.split("/")
    for segment in segments[:-1]:
        if segment.startswith("."):
            raise RequestRefused(f"{ref}: hidden folders hold no objects")
    if not segments[-1] or not is_object_name(segments[-1]):
        raise RequestRefused(f"{ref}: a folder, or a hidden or unfinished file, is no object in the folder store")
    if any(len(segment.encode()) > _MAX_NAME_BYTES for segment in segments):
        raise RequestRefused(f"{ref}: a file's name has at most {_MAX_NAME_BYTES} bytes")
    return root.joinpath(ref.bucket, *segments)


def stays_within(bucket_path: Path, path: Path) -> bool:
    """Whether the path, with all links followed, still lies in the bucket."""
    return _resolved(path).is_relative_to(bucket_path.resolve())


def inside(bucket_path: Path, path: Path) -> tuple[str, ...]:
    """The segments below the bucket, with all links followed. Raises FileNotFoundError for what leads out of it."""
    found, bucket = _resolved(path), bucket_path.resolve()
    if found == bucket or not found.is_relative_to(bucket):
        raise FileNotFoundError(path)
    return found.relative_to(bucket).parts


def _resolved(path: Path) -> Path:
    """The path without links. Raises FileNotFoundError for those that lead in circles or are swapped meanwhile."""
    try:
        return path.resolve()
    except RuntimeError as error:  # Of Python 3.12; later ones don't follow such a link.
        raise FileNotFoundError(path) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # What was a link is none any more.
            raise FileNotFoundError(path) from error
        raise


def key_of(bucket_path: Path, path: Path) -> str | None:
    """The key of the object that the path is or was, or None where it can't be one."""
    segments = path.relative_to(bucket_path).parts
    hidden = any(segment.startswith(".") for segment in segments[:-1])
    if not segments or hidden or not is_object_name(segments[-1]) or not all(map(_is_text, segments)):
        return None
    key = "/".join(segments)
    return key if len(key.encode()) <= KEY_MAX_BYTES else None


def walk(bucket_path: Path, *, prefix: str = "", start_after: str = "", under: str = "") -> Iterator[tuple[str, Path]]:
    """Keys and paths of all files that can be objects, in the order of the keys' bytes.

    ``under`` is empty or a folder's key with its final slash. Holds the names of one folder per level in memory.
    Folders that are links aren't entered: they may lead round in circles. Raises FileNotFoundError if the folder to
    start with isn't there; one that vanishes on the way is empty.
    """
    for key, entry in _entries(bucket_path / under, under):
        if not key.endswith("/"):
            if key > start_after and key.startswith(prefix) and len(key.encode()) <= KEY_MAX_BYTES:
                yield key, Path(entry.path)
        elif _may_hold(key, prefix=prefix, start_after=start_after):
            try:
                yield from walk(bucket_path, prefix=prefix, start_after=start_after, under=key)
            except FileNotFoundError:
                continue


def _entries(folder: Path, under: str) -> list[tuple[str, os.DirEntry[str]]]:
    """The entries with their keys, sorted; a folder's key ends with a slash, which is where its files sort."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".") and _is_text(entry.name):
                    found.append((f"{under}{entry.name}/", entry))
            elif is_object_name(entry.name):
                found.append((f"{under}{entry.name}", entry))
    # The order of code points is the order of the UTF-8 bytes.
    return sorted(found, key=lambda pair: pair[0])


def _may_hold(folder_key: str, *, prefix: str, start_after: str) -> bool:
    wanted = folder_key.startswith(prefix) or prefix.startswith(folder_key)
    return wanted and (folder_key > start_after or start_after.startswith(folder_key))


def _is_text(name: str) -> bool:
    """File names are bytes; those that aren't UTF-8 can't be keys."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
