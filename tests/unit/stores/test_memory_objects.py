"""The switches of the object store in memory, which simulations rely on."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime

import pytest

from schemas.errors import ObjectStoreOutage
from schemas.messages import DELETE_EVENT, PUT_EVENT
from schemas.records import ObjectRef
from stores.objects.memory import MemoryObjects
from tests.harness.object_stores import keys_of, read_all

REF = ObjectRef("pictures", "a.png")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def test_changes_are_announced_once_each() -> None:
    """Each put and each delete of something calls the listeners; deleting nothing does not."""
    store, events = MemoryObjects(["pictures"]), []
    store.on_change.append(lambda ref, name: events.append((ref, name)))
    await store.delete(REF)
    await store.put(REF, b"1", content_type="image/png")
    store.put_now(REF, b"2")
    await store.delete(REF)
    assert events == [(REF, PUT_EVENT), (REF, PUT_EVENT), (REF, DELETE_EVENT)]


async def test_versions_rise_even_when_the_clock_stands_still() -> None:
    """The ETag is the MD5 of the bytes, and each version is later than the one before."""
    store = MemoryObjects(["pictures"], clock=lambda: NOON)
    first, second = store.put_now(REF, b"1"), store.put_now(REF, b"1")
    assert first.etag == second.etag == hashlib.md5(b"1", usedforsecurity=False).hexdigest()
    assert NOON == first.last_modified < second.last_modified


async def test_an_outage_stops_every_call_and_loses_nothing() -> None:
    """`outage` holds for readers and writers alike; what somebody else does meanwhile happens."""
    store = MemoryObjects(["pictures"])
    store.put_now(REF, b"1")
    store.outage = True
    for call in (
        store.head(REF), read_all(store, REF), keys_of(store, "pictures"), store.check("pictures"), store.delete(REF),
        store.put(REF, b"", content_type="image/png"), store.ensure_bucket("other"),
    ):  # fmt: skip
        with pytest.raises(ObjectStoreOutage):
            await call
    store.put_now(REF, b"2")
    store.outage = False
    assert store.present("pictures") == {"a.png": b"2"}


async def test_others_run_between_the_look_and_the_bytes() -> None:
    """An object may be overwritten while it is read, and the reader still gets one whole version."""
    store = MemoryObjects(["pictures"])
    store.put_now(REF, b"1" * 200_000)
    pieces: list[bytes] = []

    async def overwrite() -> None:
        store.put_now(REF, b"2" * 200_000)

    def sink(piece: bytes) -> None:
        pieces.append(piece)

    state, _ = await asyncio.gather(store.read(REF, sink, max_bytes=10**6), overwrite())
    assert state is not None
    assert hashlib.md5(b"".join(pieces), usedforsecurity=False).hexdigest() == state.etag
    assert store.present("pictures")["a.png"][:1] == b"2"
