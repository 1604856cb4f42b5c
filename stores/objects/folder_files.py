"""Reading and writing single files so that nobody sees half of one."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from schemas.errors import ObjectStoreOutage, PreconditionFailed, RequestRefused
from stores.objects.folder_layout import HIDDEN_FOLDER
from stores.objects.folder_versions import etag_of

_TICK_NS: Final = 20_000_000
"""Two writes within one tick of the file system's clock can't be told apart; Linux ticks every 4 to 10 ms."""
_IN_THE_WAY: Final = frozenset({errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG})


@contextmanager
def translated(what: str) -> Iterator[None]:
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


def make_parents(bucket_path: Path, path: Path) -> None:
    """Make the folders between the bucket and the file, and never the bucket, which may be away for a while."""
    for parent in reversed(path.relative_to(bucket_path).parents[:-1]):
        (bucket_path / parent).mkdir(exist_ok=True)


def link_new(source: Path, path: Path) -> None:
    """Put the file there under a second name, unless a file is there: against other processes too.

    Raises PreconditionFailed.
    """
    try:
        os.link(source, path)
    except FileExistsError as error:
        raise PreconditionFailed(f"{path.name} is there already") from error


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
    with translated(f"read {what}"):
        piece = file.read(size)
        unchanged = etag_of(os.fstat(file.fileno())) == etag
    if not unchanged:
        raise PreconditionFailed(f"{what} changed while it was read")
    return piece
