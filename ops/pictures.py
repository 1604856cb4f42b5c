"""Which files of this machine are put into a bucket, and under which keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from schemas.errors import TwinlensError
from stores.objects.folder_versions import guessed_type

PICTURE_SUFFIXES: Final = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif"),
        *(".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpf", ".ico", ".psd"),
        *(".nef", ".nrw", ".cr2", ".arw", ".dng", ".pef", ".rw2", ".raf", ".cr3", ".orf", ".x3f"),
    }
)
"""File name endings, in lower case, of the formats that ``imaging`` reads."""


class PathProblem(TwinlensError):
    """A path that was named can't be used; the text says why."""


class Source(NamedTuple):
    """A file and the key that it is stored under."""

    path: Path
    key: str

    @property
    def content_type(self) -> str:
        """What the file's name promises."""
        return guessed_type(self.key)


class SkippedFile(NamedTuple):
    """A file or folder below a folder that is not taken, and why."""

    path: Path
    reason: str


NOTHING_FOUND: Final = "no pictures were found there; --all takes files of every name"
HIDDEN: Final = "hidden"
OTHER_NAME: Final = "no picture's name"
NO_FILE: Final = "no regular file"
EXCLUDED: Final = "objects.exclude"


def check_paths(paths: Iterable[Path]) -> None:
    """Raises PathProblem for one that is not there."""
    for path in paths:
        if not path.exists():
            raise PathProblem(f"there is no file or folder {path}")


def find_sources(
    paths: Iterable[Path],
    *,
    prefix: str = "",
    everything: bool = False,
    excludes: Callable[[str], bool] = lambda _: False,
    left_out: Callable[[SkippedFile], object] = lambda _: None,
) -> list[Source]:
    """The files to add, in the order of their keys.

    A file's key is its name, and within a folder its path relative to that folder; ``prefix`` comes before both. Of a
    folder, hidden files are left out, and files whose name is not a picture's unless ``everything`` is set; a file
    that is named itself is always taken, unless ``excludes`` says of its key that it would not be indexed.
    ``left_out`` is told of all that is not taken. Raises PathProblem for a path that is not there and for two files
    that would get the same key.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for name, file in _files(path, left_out, everything=everything):
            key = prefix + name
            if excludes(key):
                left_out(SkippedFile(file, EXCLUDED))
            elif found.setdefault(key, file) != file:
                raise PathProblem(f"{found[key]} and {file} would both be {key}; add one of them with --prefix")
    return [Source(found[key], key) for key in sorted(found)]


def _files(path: Path, left_out: Callable[[SkippedFile], object], *, everything: bool) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        yield from _files_below(path, left_out, everything=everything)
    elif path.is_file():
        yield path.name, path
    else:
        raise PathProblem(f"there is no file or folder {path}")


def _files_below(
    folder: Path, left_out: Callable[[SkippedFile], object], *, everything: bool
) -> Iterator[tuple[str, Path]]:
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        for name in sorted(folders):
            if name.startswith("."):
                left_out(SkippedFile(Path(parent, name), HIDDEN))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(parent, name)
            reason = _reason(file, everything=everything)
            if reason is None:
                yield file.relative_to(folder).as_posix(), file
            else:
                left_out(SkippedFile(file, reason))


def _reason(file: Path, *, everything: bool) -> str | None:
    """Why a file in a folder is not taken."""
    if file.name.startswith("."):
        return HIDDEN
    if not everything and file.suffix.lower() not in PICTURE_SUFFIXES:
        return OTHER_NAME
    return None if file.is_file() else NO_FILE


def _refuse(error: OSError) -> None:
    raise PathProblem(f"{error.filename} can't be read: {error.strerror}") from error
