"""The object stores under test, each with a way to take its bucket away and to bring it back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from minio import Minio
from pydantic import SecretStr

from schemas.records import ObjectRef, ObjectState
from schemas.settings import ObjectSettings
from stores.objects.ports import ObjectReader, ObjectWriter
from tests.harness.stack.stack import Addresses


class ClosableStore(ObjectWriter, Protocol):
    """An object store that can be closed."""

    async def close(self) -> None:
        """Give back connections and threads."""


@dataclass
class Case:
    """A store with an empty bucket. ``folder`` and ``client`` are another program's way in, where there is one."""

    name: str
    store: ClosableStore
    bucket: str
    hide_bucket: Callable[[], None]
    show_bucket: Callable[[], None]
    folder: Path | None = None
    client: Minio | None = None

    def ref(self, key: str) -> ObjectRef:
        """A place in the bucket."""
        return ObjectRef(self.bucket, key)

    async def put(self, key: str, data: bytes = b"data") -> str:
        """Store bytes as PNG."""
        return await self.store.put(self.ref(key), data, content_type="image/png")


def s3_settings(addresses: Addresses, *, arns: tuple[str, ...] = (), timeout_s: float = 10) -> ObjectSettings:
    """Settings for the stack's MinIO."""
    return ObjectSettings(
        endpoint=addresses.s3.removeprefix("http://"),
        access_key=addresses.access_key,
        secret_key=SecretStr(addresses.secret_key),
        notification_arns=arns,
        timeout_s=timeout_s,
    )


async def read_all(store: ObjectReader, ref: ObjectRef, *, max_bytes: int = 2**25) -> tuple[ObjectState, bytes] | None:
    """State and bytes of an object as `read` gives them."""
    pieces: list[bytes] = []
    state = await store.read(ref, pieces.append, max_bytes=max_bytes)
    return (state, b"".join(pieces)) if state else None


async def stream_all(pieces: AsyncIterator[bytes]) -> bytes:
    """All pieces of a stream."""
    return b"".join([piece async for piece in pieces])


async def keys_of(store: ObjectReader, bucket: str, *, prefix: str = "", start_after: str = "") -> list[str]:
    """The keys that `list` yields."""
    return [state.ref.key async for state in store.list(bucket, prefix=prefix, start_after=start_after)]
