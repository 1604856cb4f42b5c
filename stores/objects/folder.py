"""Objects as files in a folder, for the embedded stack without an S3 server. A bucket is a subfolder."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from schemas.errors import BucketOutage, ObjectStoreOutage, ObjectTooLarge, PreconditionFailed, RequestRefused
from schemas.records import ObjectRef, ObjectState
from stores.objects.folder_files import (
    open_file,
    piece_of,
    place,
    regular_files,
    remove_file,
    settled,
    translated_os_errors,
    unfinished,
)
from stores.objects.folder_layout import path_of, stays_within, walk
from stores.objects.folder_versions import Notes, etag_of, last_modified_of
from stores.objects.keys import checked_bucket
from stores.objects.ports import Sink

PIECE_BYTES: Final = 256 * 1024
PAGE: Final = 500
_ATTEMPTS: Final = 3


class FolderObjects:
    """An ObjectWriter on a folder. Other programs may put, change, move and remove files in it at any time.

    Hidden and unfinished files are no objects, nor are links that lead out of the bucket. Changes are announced by
    :class:`stores.objects.watcher.FolderWatcher`, not from here.
    """

    def __init__(self, root: Path, *, threads: int = 8) -> None:
        self._root = root.absolute()
        self._notes = Notes(self._root)
        self._changing = threading.Lock()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="folder")

    async def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def head(self, ref: ObjectRef) -> ObjectState | None:
        """See ObjectReader."""
        path = path_of(self._root, ref)
        return await self._run(lambda: self._head(ref, path))

    async def read(self, ref: ObjectRef, sink: Sink, *, max_bytes: int) -> ObjectState | None:
        """See ObjectReader. Holds the object in memory, since a file may change while it is read."""
        path = path_of(self._root, ref)
        found = await self._run(lambda: self._read(ref, path, max_bytes))
        if found is None:
            return None
        state, data = found
        for start in range(0, len(data), PIECE_BYTES):
            sink(data[start : start + PIECE_BYTES])
            await asyncio.sleep(0)
        return state

    async def stream(
        self, ref: ObjectRef, *, offset: int = 0, length: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        """See ObjectReader. A range beyond the end is empty."""
        path = path_of(self._root, ref)
        file = await self._run(lambda: self._open(ref, path, missing_is_lost=True))
        try:
            version = etag_of(os.fstat(file.fileno()))
            if etag not in (None, version):
                raise PreconditionFailed(f"{ref} is another one by now")
            file.seek(offset)
            left = length
            while left is None or left > 0:
                wanted = PIECE_BYTES if left is None else min(PIECE_BYTES, left)
                piece = await self._run(partial(piece_of, file, wanted, version, str(ref)))
                if not piece:
                    return
                left = None if left is None else left - len(piece)
                yield piece
        finally:
            file.close()

    async def list(self, bucket: str, *, prefix: str = "", start_after: str = "") -> AsyncIterator[ObjectState]:
        """See ObjectReader. Holds the names of one folder per level in memory."""
        bucket_path = self._root / checked_bucket(bucket)
        found = walk(bucket_path, prefix=prefix, start_after=start_after)

        def page() -> tuple[tuple[str, Path], ...]:
            with translated_os_errors(f"list {bucket}"):
                try:
                    names = tuple(islice(found, PAGE))
                except FileNotFoundError:
                    names = ()
                # A bucket that vanished during the walk would look like one with fewer objects.
                self._bucket_identity(bucket)
                return names

        while names := await self._run(page):
            for state in await self._run(partial(self._listed, bucket, names)):
                yield state

    async def presigned_url(self, ref: ObjectRef, *, expires_s: int, content_type: str) -> str | None:
        """There are no links into a folder."""
        path_of(self._root, ref)
        return None

    async def check(self, bucket: str) -> None:
        """See ObjectReader."""
        checked_bucket(bucket)
        await self._run(lambda: self._bucket_identity(bucket))

    async def put(
        self,
        ref: ObjectRef,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> str:
        """See ObjectWriter. The object appears whole. ``if_match`` holds against writers in this process only."""
        path = path_of(self._root, ref)
        names = {name.lower(): value for name, value in (metadata or {}).items()}

        def write() -> str:
            self._bucket_identity(ref.bucket)
            with translated_os_errors(f"write {ref}"), unfinished(self._root, data) as file, self._changing:
                self._require(ref, path, if_match)
                etag = etag_of(file.stat())
                self._notes.write(ref, etag, content_type, names)
                place(file, self._root / ref.bucket, path, if_absent=if_absent)
                self._notes.forget(ref, keep=etag)
                return etag

        return await self._run(write)

    async def delete(self, ref: ObjectRef) -> None:
        """See ObjectWriter. Folders stay, also when they are empty."""
        path = path_of(self._root, ref)
        await self._run(lambda: self._delete(ref, path))

    async def ensure_bucket(self, bucket: str) -> None:
        """See ObjectWriter. Makes the folder."""
        path = self._root / checked_bucket(bucket)

        def make() -> None:
            with translated_os_errors(f"make bucket {bucket}"):
                path.mkdir(parents=True, exist_ok=True)

        await self._run(make)

    async def ensure_announced(self, bucket: str) -> bool:
        """There is no rule: :class:`stores.objects.watcher.FolderWatcher` announces what happens."""
        await self.check(bucket)
        return False

    async def _run[T](self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _bucket_identity(self, bucket: str) -> tuple[int, int]:
        """Device and inode of the bucket's folder. Raises BucketOutage where there is none."""
        try:
            stat = (self._root / bucket / ".").stat()
        except OSError as error:
            raise BucketOutage(f"the bucket {bucket} is not there: {error.strerror}", bucket=bucket) from error
        return stat.st_dev, stat.st_ino

    def _stat(self, ref: ObjectRef, path: Path) -> os.stat_result | None:
        """Of the file, or None where there is none while the bucket is there."""
        before = self._bucket_identity(ref.bucket)
        with translated_os_errors(f"look at {ref}"):
            try:
                with open_file(self._root / ref.bucket, path) as file:
                    return os.fstat(file.fileno())
            except (FileNotFoundError, NotADirectoryError):
                pass
        if self._bucket_identity(ref.bucket) != before:
            raise ObjectStoreOutage(f"the bucket {ref.bucket} was replaced")
        return None

    def _head(self, ref: ObjectRef, path: Path) -> ObjectState | None:
        stat = self._stat(ref, path)
        return self._notes.state(ref, stat) if stat else None

    def _open(self, ref: ObjectRef, path: Path, *, missing_is_lost: bool) -> BinaryIO:
        """The file, or PreconditionFailed if that is how a missing one is to be called, else FileNotFoundError."""
        if self._stat(ref, path) is not None:
            with translated_os_errors(f"read {ref}"):
                try:
                    return open_file(self._root / ref.bucket, path)
                except FileNotFoundError:
                    self._bucket_identity(ref.bucket)
        if missing_is_lost:
            raise PreconditionFailed(f"{ref} is gone")
        raise FileNotFoundError(path)

    def _read(self, ref: ObjectRef, path: Path, max_bytes: int) -> tuple[ObjectState, bytes] | None:
        for _ in range(_ATTEMPTS):
            try:
                file = self._open(ref, path, missing_is_lost=False)
            except FileNotFoundError:
                return None
            with file, translated_os_errors(f"read {ref}"):
                before = settled(file)
                if before.st_size > max_bytes:
                    raise ObjectTooLarge(f"{ref} has {before.st_size:,} bytes; {max_bytes:,} are allowed")
                data = file.read(max_bytes + 1)
                if etag_of(os.fstat(file.fileno())) == etag_of(before) and len(data) == before.st_size:
                    return self._notes.state(ref, before), data
        raise ObjectStoreOutage(f"{ref} keeps changing while it is read")

    def _listed(self, bucket: str, names: Sequence[tuple[str, Path]]) -> Sequence[ObjectState]:
        with translated_os_errors(f"list {bucket}"):
            return [
                ObjectState(ObjectRef(bucket, key), etag_of(stat), stat.st_size, last_modified_of(stat))
                for key, stat in regular_files(self._root / bucket, names)
            ]

    def _require(self, ref: ObjectRef, path: Path, if_match: str | None) -> None:
        """That the object can be written there, and is the version ``if_match`` if that is given."""
        bucket_path = self._root / ref.bucket
        if not stays_within(bucket_path, path):
            raise RequestRefused(f"{ref} is a link that leads out of the bucket")
        if if_match is not None:
            stat = self._stat(ref, path)
            if stat is None or etag_of(stat) != if_match:
                raise PreconditionFailed(f"{ref} is gone or another one")

    def _delete(self, ref: ObjectRef, path: Path) -> None:
        with self._changing, translated_os_errors(f"delete {ref}"):
            if self._stat(ref, path) is not None:
                remove_file(self._root / ref.bucket, path)
            self._notes.forget(ref)
