"""Which files of this machine are put into a bucket, and under which keys."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from schemas.errors import TwinlensError

PICTURE_SUFFIXES: Final = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif"),
        *(".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpf", ".ico", ".psd"),
        *(".nef", ".nrw", ".cr2", ".arw", ".dng", ".pef", ".rw2", ".raf"),
    }
)
"""File name endings, in lower case, of the formats that ``imaging`` reads."""

_TYPES: Final = mimetypes.MimeTypes()
_TYPES.add_type("image/webp", ".webp")
_TYPES.add_type("image/avif", ".avif")
_TYPES.add_type("image/heic", ".heic")
_TYPES.add_type("image/jxl", ".jxl")
_TYPES.add_type("image/jpeg", ".jfif")


class PathProblem(TwinlensError):
    """A path that was named can't be used; the text says why."""


class Source(NamedTuple):
    """A file and the key that it is stored under."""

    path: Path
    key: str

    @property
    def content_type(self) -> str:
        """What the file's name promises."""
        return _TYPES.guess_type(self.key.rpartition("/")[2])[0] or "application/octet-stream"


def find_sources(paths: Iterable[Path], *, prefix: str = "", everything: bool = False) -> list[Source]:
    """The files to add, in the order of their keys.

    A file's key is its name, and within a folder its path relative to that folder; ``prefix`` comes before both. Of a
    folder, hidden files are left out, and files whose name is not a picture's unless ``everything`` is set; a file
    that is named itself is always taken. Raises PathProblem for a path that is not there and for two files that would
    get the same key.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for name, file in _files(path, everything=everything):
            key = prefix + name
            if found.setdefault(key, file) != file:
                raise PathProblem(f"{found[key]} and {file} would both be {key}; add one of them with --prefix")
    return [Source(found[key], key) for key in sorted(found)]


def _files(path: Path, *, everything: bool) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        yield from _files_below(path, everything=everything)
    elif path.is_file():
        yield path.name, path
    else:
        raise PathProblem(f"there is no file or folder {path}")


def _files_below(folder: Path, *, everything: bool) -> Iterator[tuple[str, Path]]:
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(parent, name)
            wanted = everything or file.suffix.lower() in PICTURE_SUFFIXES
            if wanted and not name.startswith(".") and file.is_file():
                yield file.relative_to(folder).as_posix(), file


def _refuse(error: OSError) -> None:
    raise PathProblem(f"{error.filename} can't be read: {error.strerror}") from error
