"""Which objects are left out, and an object store seen without them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from pathspec import PathSpec

from schemas.errors import RequestRefused
from schemas.records import ObjectRef, ObjectState
from stores.objects.ports import ObjectReader, Sink


class LeftOut:
    """Folders (keys that end in ``/``, without a byte), and objects whose key a glob matches, as in .gitignore."""

    def __init__(self, globs: Sequence[str] = ()) -> None:
        self._excluded = PathSpec.from_lines("gitignore", globs)

    def excludes(self, key: str) -> bool:
        """Whether any object of this key is left out."""
        return self._excluded.match_file(key)

    def check(self, key: str) -> None:
        """Raises RequestRefused for a key whose object would be left out."""
        if self.excludes(key):
            raise RequestRefused(f"objects of the key {key} are left out (objects.exclude)")

    def hides(self, state: ObjectState) -> bool:
        """Whether this object is left out."""
        is_folder = state.ref.key.endswith("/") and state.size == 0
        return is_folder or self.excludes(state.ref.key)


class VisibleObjects(ObjectReader):
    """An object store in which an object that is left out is not there, as if it had been removed.

    Only a listing names those too: who compares has to know them, and not to take them for removed by the thousand.
    """

    def __init__(self, objects: ObjectReader, left_out: LeftOut) -> None:
        self._objects = objects
        self._left_out = left_out

    async def head(self, ref: ObjectRef) -> ObjectState | None:
        """See ObjectReader."""
        return None if self._left_out.excludes(ref.key) else self._visible(await self._objects.head(ref))

    async def read(self, ref: ObjectRef, sink: Sink, *, max_bytes: int) -> ObjectState | None:
        """See ObjectReader."""
        if self._left_out.excludes(ref.key):
            return None
        return self._visible(await self._objects.read(ref, sink, max_bytes=max_bytes))

    def stream(
        self, ref: ObjectRef, *, offset: int = 0, length: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        """See ObjectReader; what is left out is not asked for."""
        return self._objects.stream(ref, offset=offset, length=length, etag=etag)

    def list(self, bucket: str, *, prefix: str = "", start_after: str = "") -> AsyncIterator[ObjectState]:
        """See ObjectReader."""
        return self._objects.list(bucket, prefix=prefix, start_after=start_after)

    async def presigned_url(self, ref: ObjectRef, *, expires_s: int, content_type: str) -> str | None:
        """See ObjectReader; what is left out is not asked for."""
        return await self._objects.presigned_url(ref, expires_s=expires_s, content_type=content_type)

    async def check(self, bucket: str) -> None:
        """See ObjectReader."""
        await self._objects.check(bucket)

    def _visible(self, state: ObjectState | None) -> ObjectState | None:
        return None if state is not None and self._left_out.hides(state) else state
