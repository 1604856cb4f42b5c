"""Faults at the ports: calls that fail before or after their effect, or whose effect comes late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from schemas.errors import BrokerOutage, CatalogOutage, ModelsChanged, ObjectStoreOutage, Outage, VectorIndexOutage
from schemas.records import ObjectRef, ObjectState
from stores.broker.ports import OutgoingMessage
from stores.catalog.memory import MemoryCatalog
from stores.objects.memory import MemoryObjects
from stores.objects.ports import Sink
from stores.vectors.memory import MemoryVectors
from stores.vectors.ports import LiveCollection, Vector, VectorEntry, VectorHit
from stores.vectors.whole import WholesOnly

MISREAD_CHANCE = 0.3
WORKER: ContextVar[str | None] = ContextVar("worker", default=None)
"""The name of the task that a worker runs in, also for what it has done side by side."""


class Chaos:
    """Decides which calls fail. ``rate`` is the chance per call, ``faults`` how many may still come."""

    def __init__(self, random: Random, *, rate: float, faults: int) -> None:
        self.random = random
        self._rate = rate
        self._faults = faults
        self.is_calm = False
        self.storing: dict[str | None, set[int]] = {}
        """The vectors that each worker has begun to store and not recorded yet."""
        self.may_be_orphans: set[int] = set()
        """Vectors whose storing was cut off by a crash, or came long after its caller was told that it had not."""
        self.late: list[asyncio.Task[Any]] = []

    def strikes(self) -> bool:
        """Whether this call is hit."""
        if self._faults and self.random.random() < self._rate:
            self._faults -= 1
            return True
        return False

    def calm(self) -> None:
        """No faults from now on."""
        self._faults = 0
        self.is_calm = True

    async def call[T](self, action: Callable[[], Awaitable[T]], error: type[Outage], *, late: bool = False) -> T:
        """Do it, or fail before, after, or (``late``) long before the effect comes."""
        if not self.strikes():
            return await action()
        how = self.random.random()
        if how < 0.4:
            raise error("the call was lost")
        if late and how < 0.6:
            self.put_off(action)
            raise error("the call timed out")
        await action()
        raise error("the answer was lost")

    def put_off(self, action: Callable[[], Awaitable[Any]]) -> None:
        """Have it take effect later, though its caller will be told that it did not."""
        self.late.append(asyncio.ensure_future(self._later(action)))

    async def _later(self, action: Callable[[], Awaitable[Any]]) -> None:
        await asyncio.sleep(self.random.uniform(0, 5))
        # The collection may be dropped by then.
        with suppress(VectorIndexOutage):
            await action()


class ChaoticObjects:
    """The object store. Last-Modified has whole seconds, as HTTP has it. ``misreads``: how often bits flip."""

    def __init__(self, inner: MemoryObjects, chaos: Chaos, *, misreads: int = 0) -> None:
        self._inner = inner
        self._chaos = chaos
        self._misreads = misreads

    async def head(self, ref: ObjectRef) -> ObjectState | None:
        """See ObjectReader."""
        return _in_seconds(await self._chaos.call(lambda: self._inner.head(ref), ObjectStoreOutage))

    async def read(self, ref: ObjectRef, sink: Sink, *, max_bytes: int) -> ObjectState | None:
        """See ObjectReader."""
        if self._misreads and not self._chaos.is_calm and self._chaos.random.random() < MISREAD_CHANCE:
            self._misreads -= 1
            sink = _misreading(sink, self._chaos.random)
        reading = self._chaos.call(lambda: self._inner.read(ref, sink, max_bytes=max_bytes), ObjectStoreOutage)
        return _in_seconds(await reading)

    async def check(self, bucket: str) -> None:
        """See ObjectReader."""
        await self._chaos.call(lambda: self._inner.check(bucket), ObjectStoreOutage)

    async def list(self, bucket: str, *, prefix: str = "") -> AsyncIterator[ObjectState]:
        """See ObjectReader."""

        async def all_of_them() -> Sequence[ObjectState]:
            return [state async for state in self._inner.list(bucket, prefix=prefix)]

        for state in await self._chaos.call(all_of_them, ObjectStoreOutage):
            yield replace(state, last_modified=state.last_modified.replace(microsecond=0))


def _misreading(sink: Sink, random: Random) -> Sink:
    return lambda data: sink(random.randbytes(min(8, len(data))) + data[8:])


def _in_seconds(state: ObjectState | None) -> ObjectState | None:
    return state and replace(state, last_modified=state.last_modified.replace(microsecond=0))


class ChaoticVectors(WholesOnly):
    """The vector index. A request that timed out may still be carried out later. ``moved``: the alias was."""

    def __init__(self, inner: MemoryVectors, chaos: Chaos, moved: Callable[[], None]) -> None:
        self._inner = inner
        self._chaos = chaos
        self._moved = moved

    async def upsert(self, entries: Sequence[VectorEntry]) -> None:
        """See VectorIndex."""
        ids = {entry.vector_id for entry in entries}
        self._chaos.storing.setdefault(WORKER.get(), set()).update(ids)
        before = len(self._chaos.late)
        try:
            await self._chaos.call(lambda: self._inner.upsert(entries), VectorIndexOutage, late=True)
        finally:
            if len(self._chaos.late) > before:
                self._chaos.may_be_orphans |= ids

    async def delete(self, vector_ids: Sequence[int]) -> None:
        """See VectorIndex."""
        await self._chaos.call(lambda: self._inner.delete(vector_ids), VectorIndexOutage, late=True)

    async def get(self, vector_ids: Sequence[int], *, strong: bool = True) -> Mapping[int, Vector]:
        """See VectorReader."""
        return await self._chaos.call(lambda: self._inner.get(vector_ids, strong=strong), VectorIndexOutage)

    async def known(self, vector_ids: Collection[int]) -> set[int]:
        """See VectorIndex."""
        return await self._chaos.call(lambda: self._inner.known(vector_ids), VectorIndexOutage)

    async def has(self, collection: str) -> bool:
        """See VectorIndex."""
        return await self._chaos.call(lambda: self._inner.has(collection), VectorIndexOutage)

    async def search(self, queries: Sequence[Vector], **options: Any) -> list[list[VectorHit]]:
        """See VectorReader."""
        return await self._chaos.call(lambda: self._inner.search(queries, **options), VectorIndexOutage)

    def of(self, collection: str) -> ChaoticVectors:
        """See VectorReader."""
        return ChaoticVectors(self._inner.of(collection), self._chaos, self._moved)

    async def live(self) -> LiveCollection:
        """See VectorReader."""
        return await self._chaos.call(self._inner.live, VectorIndexOutage)

    async def create(self, collection: str, *, model_name: str, dimension: int) -> None:
        """See VectorIndex."""
        create = partial(self._inner.create, collection, model_name=model_name, dimension=dimension)
        await self._chaos.call(create, VectorIndexOutage)

    async def make_live(self, collection: str) -> None:
        """See VectorIndex."""
        await self._chaos.call(lambda: self._inner.make_live(collection), VectorIndexOutage)
        self._moved()

    async def drop(self, collection: str) -> None:
        """See VectorIndex."""
        await self._chaos.call(lambda: self._inner.drop(collection), VectorIndexOutage)

    async def ids(self, *, bucket: str, after: int = -1, page: int = 1000) -> AsyncIterator[Sequence[int]]:
        """See VectorIndex."""

        async def all_of_them() -> Sequence[Sequence[int]]:
            return [ids async for ids in self._inner.ids(bucket=bucket, after=after, page=page)]

        for ids in await self._chaos.call(all_of_them, VectorIndexOutage):
            yield ids


class Broker:
    """Kafka: hands accepted messages to the topics of the run. A tombstone may come long after it was given up on."""

    def __init__(
        self, accept: Callable[[OutgoingMessage], None], chaos: Chaos, *, late_tombstones: float = 0.0
    ) -> None:
        self._accept = accept
        self._chaos = chaos
        self._late_tombstones = late_tombstones

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        """See Outbox."""
        for message in messages:
            send = partial(self._send, message)
            if (
                message.value is None
                and not self._chaos.is_calm
                and self._chaos.random.random() < self._late_tombstones
            ):
                self._chaos.put_off(send)
                raise BrokerOutage("the call timed out")
            await self._chaos.call(send, BrokerOutage)

    async def _send(self, message: OutgoingMessage) -> None:
        await asyncio.sleep(0)
        self._accept(message)
        await asyncio.sleep(0)

    async def check(self) -> None:
        """See Outbox."""


class ChaoticCatalog(MemoryCatalog):
    """The database: each step may fail, and a commit's answer may be lost, or the commit come late."""

    def __init__(self, chaos: Chaos) -> None:
        super().__init__()
        self._chaos = chaos

    async def step(self) -> None:
        """See MemoryCatalog."""
        await super().step()
        if self._chaos.strikes():
            raise CatalogOutage("the connection was lost")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """See Catalog."""
        opened = super().transaction()
        transaction = await opened.__aenter__()
        try:
            yield transaction
        except BaseException as error:
            if not await opened.__aexit__(type(error), error, error.__traceback__):
                raise
            return
        if self._chaos.strikes() and self._chaos.random.random() < 0.5:
            self._chaos.late.append(asyncio.ensure_future(self._commit_late(opened)))
            raise CatalogOutage("the commit timed out")
        await opened.__aexit__(None, None, None)
        if self._chaos.strikes():
            raise CatalogOutage("the answer to the commit was lost")

    async def _commit_late(self, opened: Any) -> None:
        """The rows stay locked until the commit has come through or failed."""
        await asyncio.sleep(self._chaos.random.uniform(0, 2))
        try:
            await opened.__aexit__(None, None, None)
        except (CatalogOutage, ModelsChanged):
            return
