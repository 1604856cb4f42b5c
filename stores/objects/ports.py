"""What Twinlens needs of an object store. Adapters: ``s3``, ``folder``, ``memory``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from schemas.records import ObjectRef, ObjectState

Sink = Callable[[bytes], object]


class ObjectReader(Protocol):
    """Reading objects.

    Every method raises ObjectStoreOutage when the store can't be reached or the *bucket* is not there: only
    an answer that the object itself is missing, in a bucket that exists, counts as "no object".
    """

    async def head(self, ref: ObjectRef) -> ObjectState | None:
        """The object's present state, or None where there is no object."""

    async def read(self, ref: ObjectRef, sink: Sink, *, max_bytes: int) -> ObjectState | None:
        """Feed the object's bytes to ``sink`` in pieces, as they come; None where there is no object.

        State and bytes are of one and the same version. ``sink`` may be called in another thread, from one at a time.
        Raises ObjectTooLarge before the first piece if the object has more than ``max_bytes``.
        """

    def stream(
        self, ref: ObjectRef, *, offset: int = 0, length: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        """Pieces of a range of the object, for handing on. With ``etag``: of that version only.

        Raises PreconditionFailed if the object is gone or is another one by now.
        """

    def list(self, bucket: str, *, prefix: str = "", start_after: str = "") -> AsyncIterator[ObjectState]:
        """All objects under a prefix in the order of their keys' UTF-8 bytes, without content type and metadata."""

    async def presigned_url(self, ref: ObjectRef, *, expires_s: int, content_type: str) -> str | None:
        """A link that reads the object for a while, or None where the store can't make one."""

    async def check(self, bucket: str) -> None:
        """Raises BucketOutage if the server says that the bucket is gone or denied, and any other ObjectStoreOutage if
        the server does not answer as it should.
        """


class ObjectWriter(ObjectReader, Protocol):
    """Writing objects: for `twinlens add` and external producers' requests, never for the query service."""

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
        """Store an object and return its ETag. Raises PreconditionFailed if a condition does not hold."""

    async def delete(self, ref: ObjectRef) -> None:
        """Delete an object; deleting what is not there is no error."""

    async def ensure_bucket(self, bucket: str) -> None:
        """Create the bucket unless it is there, and have its changes announced. Safe to repeat."""

    async def ensure_announced(self, bucket: str) -> bool:
        """Have the bucket's changes announced as the settings say; whether that had to be put right.

        Raises ConfigurationError if the server refuses, ObjectStoreOutage also if the bucket is not there.
        """
