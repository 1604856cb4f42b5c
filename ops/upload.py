"""Putting files into a bucket, several at a time, leaving alone what is there already."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ops.pictures import Source
from schemas.errors import ObjectTooLarge, Outage, RequestRefused
from schemas.records import ObjectRef, ObjectState
from schemas.settings import Settings
from schemas.task_groups import task_group
from stores.objects.ports import ObjectWriter
from streams.common.backoff import OutageRetry

CONCURRENCY: Final = 8


@dataclass(slots=True)
class Uploaded:
    """What became of the files."""

    added: list[Source] = field(default_factory=list)
    unchanged: list[Source] = field(default_factory=list)
    """Those whose bytes were there already, under their keys."""
    failed: list[tuple[Source, str]] = field(default_factory=list)

    @property
    def present(self) -> list[Source]:
        """All that are in the bucket now, in the order of their keys."""
        return sorted([*self.added, *self.unchanged], key=lambda source: source.key)


@dataclass(frozen=True, slots=True)
class Uploader:
    """Uploads into one bucket. Outages are waited out within ``retry.budget_s``."""

    objects: ObjectWriter
    retry: OutageRetry
    settings: Settings
    bucket: str

    async def upload(self, sources: Sequence[Source], advance: Callable[[], object]) -> Uploaded:
        """Upload all, calling ``advance`` after each. A file that can't be added does not stop the others.

        Raises Outage when one outlasts the retry budget.
        """
        result = Uploaded()
        waiting = iter(sources)

        async def work() -> None:
            for source in waiting:
                await self._take(source, result)
                advance()

        async with task_group() as tasks:
            for _ in range(min(CONCURRENCY, len(sources))):
                tasks.create_task(work())
        return result

    async def _take(self, source: Source, result: Uploaded) -> None:
        try:
            is_new = await self.retry.run(lambda: self._put(source))
        except Outage:
            raise
        except (RequestRefused, ObjectTooLarge) as error:
            result.failed.append((source, str(error)))
        except OSError as error:
            result.failed.append((source, f"can't be read: {error.strerror}"))
        else:
            (result.added if is_new else result.unchanged).append(source)

    async def _put(self, source: Source) -> bool:
        """Whether the object had to be written."""
        data = await asyncio.to_thread(self._read, source.path)
        ref = ObjectRef(self.bucket, source.key)
        present = await self.objects.head(ref)
        if present is not None and await self._holds(present, data):
            return False
        await self.objects.put(ref, data, content_type=source.content_type)
        return True

    def _read(self, path: Path) -> bytes:
        """The file, which is held in memory: one that would be rejected for its size is not even read."""
        limit = self.settings.limits.max_object_bytes
        size = path.stat().st_size
        if size > limit:
            raise ObjectTooLarge(f"has {size:,} bytes, more than the {limit:,} of limits.max_object_bytes")
        return path.read_bytes()

    async def _holds(self, present: ObjectState, data: bytes) -> bool:
        """Whether the object holds just these bytes.

        An S3 server's ETag is the MD5 of an object that was put in one piece; where it is not, the object is read.
        """
        if present.size != len(data):
            return False
        if present.etag == hashlib.md5(data, usedforsecurity=False).hexdigest():
            return True
        digest = hashlib.sha256()
        await self.objects.read(present.ref, digest.update, max_bytes=len(data))
        return digest.digest() == hashlib.sha256(data).digest()
