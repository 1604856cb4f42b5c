"""Announcing what other programs do to the files of a folder store, as MinIO announces what happens in a bucket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from watchfiles import Change, awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

from schemas.errors import ConfigurationError, ObjectStoreOutage
from schemas.messages import DELETE_EVENT, PUT_EVENT
from schemas.records import ObjectRef
from stores.objects.folder_layout import is_object_name, key_of, walk
from stores.objects.keys import checked_bucket

_QUIET_MS: Final = 50
_DEBOUNCE_MS: Final = 400
"""Changes are collected until nothing happened for ``_QUIET_MS``, and for ``_DEBOUNCE_MS`` at most."""


class ObjectChange(NamedTuple):
    """An object to look at, and the S3 name of what seems to have happened to it."""

    ref: ObjectRef
    event_name: str


class FolderWatcher:
    """Watches the buckets of a :class:`stores.objects.folder.FolderObjects`.

    Keeps the keys of all files in memory: when a folder is moved away, the system names the folder only.
    """

    def __init__(self, root: Path, buckets: Sequence[str]) -> None:
        self._root = root.absolute()
        self._known: dict[str, set[str]] = {checked_bucket(bucket): set() for bucket in buckets}

    async def watch(self, stop: asyncio.Event | None = None) -> AsyncIterator[Sequence[ObjectChange]]:
        """Batches of changes as they happen, until ``stop`` is set.

        The first batch is empty: from then on no change is missed, but files that were there before are not
        announced. A file that is being written is announced again at the end. Raises ObjectStoreOutage if the folder
        is not there, ConfigurationError if the system can't watch so many folders.
        """
        events = awatch(
            self._root,
            watch_filter=None,
            stop_event=stop,
            step=_QUIET_MS,
            debounce=_DEBOUNCE_MS,
            rust_timeout=500,
            yield_on_timeout=True,
        )
        started = False
        try:
            async for changes in events:
                if not started:
                    await asyncio.to_thread(self._remember_all)
                    started = True
                    yield []
                if changes and (found := await asyncio.to_thread(self._announcements, changes)):
                    yield found
        except FileNotFoundError as error:
            raise ObjectStoreOutage(f"the folder of the buckets is not there: {error}") from error
        except (OSError, WatchfilesRustInternalError) as error:
            raise ConfigurationError(f"the folder of the buckets can't be watched: {error}") from error

    def _remember_all(self) -> None:
        for bucket, known in self._known.items():
            known.update(_keys_under(self._root / bucket, ""))

    def _announcements(self, changes: Iterable[tuple[Change, str]]) -> list[ObjectChange]:
        """What to announce of changed paths: it depends on what is there now, not on what is said to have happened."""
        found: dict[ObjectRef, str] = {}
        for _, text in sorted(changes, key=lambda change: change[1]):
            path = Path(text)
            parts = path.relative_to(self._root).parts if path.is_relative_to(self._root) else ()
            if parts and parts[0] in self._known and not any(part.startswith(".") for part in parts):
                for key, event_name in self._look(parts[0], path):
                    found[ObjectRef(parts[0], key)] = event_name
        return [ObjectChange(ref, event_name) for ref, event_name in found.items()]

    def _look(self, bucket: str, path: Path) -> list[tuple[str, str]]:
        bucket_path = self._root / bucket
        if not bucket_path.is_dir():
            # A bucket that is away is not an empty one.
            return []
        known = self._known[bucket]
        within = "/".join(path.relative_to(bucket_path).parts)
        present = self._present(bucket_path, path, within)
        if within in known or within in present:
            lost = {within} - present
        else:
            folder = f"{within}/" if within else ""
            lost = {key for key in known if key.startswith(folder)} - present
        known -= lost
        known |= present
        return [*((key, PUT_EVENT) for key in sorted(present)), *((key, DELETE_EVENT) for key in sorted(lost))]

    def _present(self, bucket_path: Path, path: Path, within: str) -> set[str]:
        """The keys of the files at or below a path."""
        if path.is_dir() and not (path.is_symlink() and path != bucket_path):
            return _keys_under(bucket_path, f"{within}/" if within else "")
        key = key_of(bucket_path, path)
        return {key} if key is not None and is_object_name(path.name) and os.path.lexists(path) else set()


def _keys_under(bucket_path: Path, under: str) -> set[str]:
    try:
        return {key for key, _ in walk(bucket_path, under=under)}
    except (FileNotFoundError, NotADirectoryError):
        return set()
