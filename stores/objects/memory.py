"""Objects in memory, for tests and simulations: every call lets others run, as a real store would."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from schemas.errors import BucketOutage, ObjectStoreOutage, ObjectTooLarge, PreconditionFailed
from schemas.messages import DELETE_EVENT, PUT_EVENT
from schemas.records import ANY_TYPE, ObjectRef, ObjectState
from stores.objects.keys import checked_bucket, checked_ref
from stores.objects.ports import Sink

PIECE_BYTES: Final = 64 * 1024
PAGE: Final = 100

OnChange = Callable[[ObjectRef, str], object]
"""Called with the object and the event's name, at once and within the change."""


@dataclass(frozen=True, slots=True)
class _Version:
    state: ObjectState
    data: bytes


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryObjects:
    """An ObjectWriter in memory.

    ``outage`` makes every call raise ObjectStoreOutage; a bucket in ``missing`` is away with its objects until it is
    taken out again; of an object in ``denied`` only a listing tells. Each version gets the MD5 of its bytes as ETag and
    a later ``last_modified`` than all before.
    """

    def __init__(self, buckets: Iterable[str] = (), *, clock: Callable[[], datetime] = _now) -> None:
        self.outage = False
        self.missing: set[str] = set()
        self.denied: set[ObjectRef] = set()
        self.on_change: list[OnChange] = []
        self._clock = clock
        self._last_modified = datetime.min.replace(tzinfo=UTC)
        self._buckets: dict[str, dict[str, _Version]] = {checked_bucket(name): {} for name in buckets}

    async def close(self) -> None:
        """Nothing is held."""

    def put_now(
        self,
        ref: ObjectRef,
        data: bytes,
        *,
        content_type: str = ANY_TYPE,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectState:
        """Store an object without letting others run, even during an outage: what somebody else did."""
        self._last_modified = max(self._clock(), self._last_modified + timedelta(microseconds=1))
        state = ObjectState(
            ref=ref,
            etag=hashlib.md5(data, usedforsecurity=False).hexdigest(),
            size=len(data),
            last_modified=self._last_modified,
            content_type=content_type,
            metadata={name.lower(): value for name, value in (metadata or {}).items()},
        )
        self._buckets[ref.bucket][ref.key] = _Version(state, bytes(data))
        self._announce(ref, PUT_EVENT)
        return state

    def delete_now(self, ref: ObjectRef) -> None:
        """Delete an object without letting others run, even during an outage."""
        if self._buckets[ref.bucket].pop(ref.key, None) is not None:
            self._announce(ref, DELETE_EVENT)

    def present(self, bucket: str) -> dict[str, bytes]:
        """What is in the bucket right now, by key."""
        return {key: version.data for key, version in self._buckets[bucket].items()}

    async def head(self, ref: ObjectRef) -> ObjectState | None:
        """See ObjectReader."""
        await asyncio.sleep(0)
        version = self._version(ref)
        await asyncio.sleep(0)
        return version.state if version else None

    async def read(self, ref: ObjectRef, sink: Sink, *, max_bytes: int) -> ObjectState | None:
        """See ObjectReader."""
        await asyncio.sleep(0)
        version = self._version(ref)
        await asyncio.sleep(0)
        if version is None:
            return None
        if version.state.size > max_bytes:
            raise ObjectTooLarge(f"{ref} has {version.state.size:,} bytes; {max_bytes:,} are allowed")
        for start in range(0, len(version.data), PIECE_BYTES):
            self._check_bucket(ref.bucket)
            sink(version.data[start : start + PIECE_BYTES])
            await asyncio.sleep(0)
        return version.state

    async def stream(
        self, ref: ObjectRef, *, offset: int = 0, length: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        """See ObjectReader."""
        await asyncio.sleep(0)
        version = self._version(ref)
        if version is None or etag not in (None, version.state.etag):
            raise PreconditionFailed(f"{ref} is gone or another one")
        end = len(version.data) if length is None else min(len(version.data), offset + length)
        for start in range(offset, end, PIECE_BYTES):
            self._check_bucket(ref.bucket)
            yield version.data[start : min(end, start + PIECE_BYTES)]
            await asyncio.sleep(0)

    async def list(self, bucket: str, *, prefix: str = "", start_after: str = "") -> AsyncIterator[ObjectState]:
        """See ObjectReader."""
        checked_bucket(bucket)
        after = start_after
        while True:
            await asyncio.sleep(0)
            self._check_bucket(bucket)
            versions = self._buckets[bucket]
            # The order of code points is the order of the keys' UTF-8 bytes.
            wanted = sorted(key for key in versions if key > after and key.startswith(prefix))
            page = [_listed(versions[key].state) for key in islice(wanted, PAGE)]
            for state in page:
                yield state
            if not page:
                return
            after = page[-1].ref.key

    async def presigned_url(self, ref: ObjectRef, *, expires_s: int, content_type: str) -> str | None:
        """There are no links into memory."""
        checked_ref(ref)
        await asyncio.sleep(0)
        return None

    async def check(self, bucket: str) -> None:
        """See ObjectReader."""
        checked_bucket(bucket)
        await asyncio.sleep(0)
        self._check_bucket(bucket)

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
        """See ObjectWriter."""
        await asyncio.sleep(0)
        version = self._version(ref)
        if if_absent and version is not None:
            raise PreconditionFailed(f"{ref} is there already")
        if if_match is not None and (version is None or version.state.etag != if_match):
            raise PreconditionFailed(f"{ref} is gone or another one")
        state = self.put_now(ref, data, content_type=content_type, metadata=metadata)
        await asyncio.sleep(0)
        return state.etag

    async def delete(self, ref: ObjectRef) -> None:
        """See ObjectWriter."""
        await asyncio.sleep(0)
        self._version(ref)
        self.delete_now(ref)
        await asyncio.sleep(0)

    async def ensure_bucket(self, bucket: str) -> None:
        """See ObjectWriter."""
        checked_bucket(bucket)
        await asyncio.sleep(0)
        if self.outage:
            raise ObjectStoreOutage("the object store is away")
        self._buckets.setdefault(bucket, {})

    async def ensure_announced(self, bucket: str) -> bool:
        """There is no rule: ``on_change`` is always called."""
        await self.check(bucket)
        return False

    def _version(self, ref: ObjectRef) -> _Version | None:
        checked_ref(ref)
        self._check_bucket(ref.bucket)
        if ref in self.denied:
            raise ObjectStoreOutage(f"{ref}: access denied", code="AccessDenied", definite=True)
        return self._buckets[ref.bucket].get(ref.key)

    def _check_bucket(self, bucket: str) -> None:
        if self.outage:
            raise ObjectStoreOutage("the object store is away")
        if bucket not in self._buckets or bucket in self.missing:
            raise BucketOutage(f"the bucket {bucket} is not there", bucket=bucket)

    def _announce(self, ref: ObjectRef, event_name: str) -> None:
        for listener in self.on_change:
            listener(ref, event_name)


def _listed(state: ObjectState) -> ObjectState:
    return ObjectState(state.ref, state.etag, state.size, state.last_modified)
