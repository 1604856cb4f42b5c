"""Reading and writing single files so that nobody sees half of one."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from stat import S_ISLNK, S_ISREG
from typing import BinaryIO, Final

from schemas.errors import ObjectStoreOutage, PreconditionFailed, RequestRefused
from stores.objects.folder_layout import HIDDEN_FOLDER, inside
from stores.objects.folder_versions import etag_of

_TICK_NS: Final = 20_000_000
"""Two writes within one tick of the file system's clock can't be told apart; Linux ticks every 4 to 10 ms."""
_IN_THE_WAY: Final = frozenset({errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG})

_GONE: Final = (FileNotFoundError, NotADirectoryError)
"""What is listed and gone a moment later, or has become a link."""


@contextmanager
def translated_os_errors(what: str) -> Iterator[None]:
    """Turn errors of the file system into ours; ``what`` names the call in the text."""
    try:
        yield
    except OSError as error:
        if error.errno in _IN_THE_WAY:
            raise RequestRefused(f"{what}: {error.strerror}: a file or folder is in the way") from error
        raise ObjectStoreOutage(f"{what}: {error.strerror}") from error


@contextmanager
def unfinished(root: Path, data: bytes) -> Iterator[Path]:
    """A complete file beside the buckets, to be moved to its place; what is still there at the end is removed."""
    folder = root / HIDDEN_FOLDER / "unfinished"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / secrets.token_hex(16)
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def opened_folder(bucket_path: Path, segments: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of a folder below the bucket, each segment opened without following links.

    What was looked at before may be a link by now; what was opened so stays in the bucket. ``make`` makes the folders
    that are missing, and never the bucket, which may be away for a while. Raises OSError, for a link that of ENOTDIR.
    """
    folder = os.open(bucket_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for segment in segments:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(segment, dir_fd=folder)
            inner = os.open(segment, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def open_file(bucket_path: Path, path: Path) -> BinaryIO:
    """The file at the path; links to it are followed where they stay in the bucket.

    Raises FileNotFoundError where there is no such file, or one that is no regular file.
    """
    *folders, name = inside(bucket_path, path)
    try:
        with opened_folder(bucket_path, folders) as folder:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise FileNotFoundError(path) from error
        raise
    if not S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FileNotFoundError(path)
    return os.fdopen(file, "rb")


def regular_files(bucket_path: Path, names: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, os.stat_result]]:
    """The keys of those that are regular files now, or links to such within the bucket, with the files' states."""
    for folder_path, inside_it in groupby(names, key=lambda name: name[1].parent):
        with suppress(*_GONE), opened_folder(bucket_path, folder_path.relative_to(bucket_path).parts) as folder:
            for key, path in inside_it:
                with suppress(*_GONE):
                    stat = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
                    if S_ISLNK(stat.st_mode):
                        stat = _linked(bucket_path, path)
                    if S_ISREG(stat.st_mode):
                        yield key, stat


def _linked(bucket_path: Path, link: Path) -> os.stat_result:
    *folders, name = inside(bucket_path, link)
    with opened_folder(bucket_path, folders) as folder:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)


def place(source: Path, bucket_path: Path, path: Path, *, if_absent: bool) -> None:
    """Move the file there, or give it a second name where none is there: against other processes too.

    Makes the folders between. Raises PreconditionFailed, and OSError for a folder that is a link.
    """
    *folders, name = path.relative_to(bucket_path).parts
    with opened_folder(bucket_path, folders, make=True) as folder:
        if not if_absent:
            os.replace(source, name, dst_dir_fd=folder)
            return
        try:
            os.link(source, name, dst_dir_fd=folder)
        except FileExistsError as error:
            raise PreconditionFailed(f"{path.name} is there already") from error


def remove_file(bucket_path: Path, path: Path) -> None:
    """Remove the file, or the link; a folder that is a link isn't entered."""
    *folders, name = path.relative_to(bucket_path).parts
    try:
        with opened_folder(bucket_path, folders) as folder:
            os.unlink(name, dir_fd=folder)
    except _GONE:
        return


def settled(file: BinaryIO) -> os.stat_result:
    """The file's state once its last write is old enough for a later one to get another time."""
    stat = os.fstat(file.fileno())
    age = time.time_ns() - stat.st_mtime_ns
    if 0 <= age < _TICK_NS:
        time.sleep((_TICK_NS - age) / 1e9)
        stat = os.fstat(file.fileno())
    return stat


def piece_of(file: BinaryIO, size: int, etag: str, what: str) -> bytes:
    """The next bytes of the open file. Raises PreconditionFailed if it isn't the version ``etag`` any more."""
    with translated_os_errors(f"read {what}"):
        piece = file.read(size)
        unchanged = etag_of(os.fstat(file.fileno())) == etag
    if not unchanged:
        raise PreconditionFailed(f"{what} changed while it was read")
    return piece
