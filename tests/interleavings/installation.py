"""An installation whose workers stop where a test says: real handlers, a real SQL catalog, the rest in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from imaging.decoding import DecodedImage, Pixels
from schemas.errors import Outage
from schemas.messages import ContentChanged, ImageChanged, ObjectHint, encode_key, parse_bucket_event
from schemas.records import ContentId, ContentState, ObjectRef, ObjectState
from schemas.settings import IndexSettings, LimitSettings, SweepSettings
from schemas.topics import Topics
from stores.broker.memory import MemoryBacklog, MemoryOutbox
from stores.catalog.ports import Catalog
from stores.objects.memory import MemoryObjects
from stores.vectors.memory import MemoryVectors
from stores.vectors.ports import Vector
from streams.converge_objects import ObjectOutcome, converge_objects
from streams.deliveries import DeadLetters, Delivery
from streams.index import Index
from streams.ports import Checkpoint, Ports
from streams.steps import Step
from streams.sweep import sweep

BUCKET = "pictures"
MODEL = "model"
DIMENSION = 4


class Halt:
    """Stops the first worker that comes to a step, until it is released."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._there = asyncio.Event()
        self._go = asyncio.Event()

    async def __call__(self, step: str) -> None:
        """The checkpoint."""
        if step == self._step and not self._there.is_set():
            self._there.set()
            await self._go.wait()

    async def arrival(self, task: asyncio.Task[object]) -> None:
        """Return when the worker has stopped there; fail if it ended without coming by."""
        arrival = asyncio.create_task(self._there.wait())
        await asyncio.wait({task, arrival}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        arrival.cancel()
        assert self._there.is_set(), f"the worker never came to {self._step}: {task}"

    def release(self) -> None:
        """Let it go on."""
        self._go.set()


class SecondsObjects(MemoryObjects):
    """Last-Modified in whole seconds, as HTTP has it: what is put within a second can't be told apart by time."""

    async def head(self, ref: ObjectRef) -> ObjectState | None:
        """See ObjectReader."""
        return _in_seconds(await super().head(ref))

    async def read(self, ref: ObjectRef, sink: Callable[[bytes], object], *, max_bytes: int) -> ObjectState | None:
        """See ObjectReader."""
        return _in_seconds(await super().read(ref, sink, max_bytes=max_bytes))


def _in_seconds(state: ObjectState | None) -> ObjectState | None:
    return state and replace(state, last_modified=state.last_modified.replace(microsecond=0))


class ManualClock:
    """Time that passes by a microsecond per look, and otherwise only when a test says so."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """The moment."""
        self.moment += timedelta(microseconds=1)
        return self.moment


class Installation:
    """A bucket, a catalog, vectors and topics, and workers for them."""

    def __init__(self, catalog: Catalog) -> None:
        self.clock = ManualClock()
        self.objects = SecondsObjects([BUCKET], clock=self.clock.now)
        self.vectors = MemoryVectors(model_name=MODEL, dimension=DIMENSION)
        self.outbox = MemoryOutbox()
        self.topics = Topics()
        self.ports = Ports(
            objects=self.objects,
            catalog=catalog,
            vectors=self.vectors,
            outbox=self.outbox,
            backlog=MemoryBacklog(),
            topics=self.topics,
            limits=LimitSettings(),
            sweep=SweepSettings(),
            copy_threshold=50.0,
            clock=self.clock,
        )
        self._settings = IndexSettings(nearest=2)
        self._read: dict[str, int] = {}
        self._announced = 0

    def put(self, key: str, data: bytes) -> ObjectHint:
        """Somebody puts an object; the announcement of that."""
        state = self.objects.put_now(ref(key), data)
        self._announced += 1
        return ObjectHint(
            state.ref, self.clock.now(), sequencer=f"{self._announced:016X}", etag=state.etag, size=state.size
        )

    def delete(self, key: str) -> None:
        """Somebody deletes an object."""
        self.objects.delete_now(ref(key))

    async def recorded(self, key: str) -> ContentId | None:
        """The content that the catalog says a key has."""
        image = (await self.ports.catalog.images([ref(key)])).get(ref(key))
        return image.content_id if image else None

    async def ingest(self, key: str, reached: Halt | None = None, event_time: datetime | None = None) -> ObjectOutcome:
        """An ingest worker with a hint about a key."""
        return await self.ingest_hints(ObjectHint(ref(key), event_time), reached=reached)

    async def ingest_hints(self, *hints: ObjectHint, reached: Halt | None = None) -> ObjectOutcome:
        """An ingest worker with a batch of hints about one key."""
        ports = replace(self.ports, reached=reached) if reached else self.ports
        [outcome] = (await patiently(lambda: converge_objects(hints, ports))).values()
        return outcome

    async def index(self, data: bytes, reached: Halt | None = None, *, verify: bool = False) -> None:
        """An index worker with a message about a content."""
        await self._index(ContentChanged(bucket=BUCKET, sha256=content_of(data).sha256, verify=verify), reached)

    async def _index(self, message: ContentChanged, reached: Halt | None = None) -> None:
        """A worker of its own, which has nothing else to do."""
        await self.index_worker(reached).handle([self.delivery(message)])
        assert self.outbox.to(self.topics.dead_letters) == []

    def index_worker(self, reached: Checkpoint | None = None) -> Index:
        """A worker for contents."""
        ports = replace(self.ports, reached=reached) if reached else self.ports
        retry: Any = Patient()
        return Index(ports, retry, DeadLetters(ports, retry, "index", 1_000_000), self._settings, PictureInference())

    def delivery(self, message: ContentChanged) -> Delivery:
        """A message about a content."""
        return Delivery(self.topics.contents, 0, 0, None, message.encode(), {})

    async def handle_messages(self) -> None:
        """Workers handle all messages that were sent, one after the other, until there are no more."""
        while True:
            hints = self._unread(self.topics.bucket_events)
            changes = self._unread(self.topics.contents)
            if not hints and not changes:
                return
            for value in hints:
                for hint in parse_bucket_event(value):
                    await self.ingest_hints(hint)
            for value in changes:
                await self._index(ContentChanged.decode(value))

    def lose_messages(self) -> None:
        """Nobody will handle what was sent and not handled yet."""
        self._unread(self.topics.bucket_events)
        self._unread(self.topics.contents)

    def _unread(self, topic: str) -> list[bytes]:
        sent = [message.value for message in self.outbox.to(topic) if message.value is not None]
        new = sent[self._read.get(topic, 0) :]
        self._read[topic] = len(sent)
        return new

    async def come_to_rest(self) -> None:
        """Messages are handled, and the sweep takes up what is left, until nothing is."""
        await self.handle_messages()
        for _ in range(10):
            self.clock.moment += timedelta(hours=1)
            if await patiently(lambda: sweep(self.ports)) == 0:
                return
            await self.handle_messages()
        raise AssertionError("the installation does not come to rest")

    async def assert_agreement(self) -> None:
        """Bucket, catalog, vectors and change stream agree."""
        catalog = self.ports.catalog
        bucket = {key: hashlib.sha256(data).hexdigest() for key, data in self.objects.present(BUCKET).items()}
        images = await catalog.page_of_images(BUCKET, prefix="", after="", limit=1000)
        assert {image.key: image.sha256 for image in images} == bucket
        contents = await catalog.page_of_contents(BUCKET, after="", limit=1000)
        assert {row.sha256 for row in contents} == set(bucket.values())
        assert all(row.state is ContentState.INDEXED and row.dirty_since is None for row in contents)
        assert not any(row.retired for row in contents)
        stored = {number: entry.vector for number, entry in self.vectors.present().items()}
        assert set(stored) == {row.vector_id for row in contents}
        pictures = {hashlib.sha256(data).hexdigest(): data for data in self.objects.present(BUCKET).values()}
        for row in contents:
            assert np.allclose(stored[row.vector_id], embedding_of(pictures[row.sha256]))
        assert self._published() == {key: ("indexed", digest) for key, digest in bucket.items()}

    def _published(self) -> Mapping[str, tuple[str, str | None]]:
        """What a reader of the change stream knows to be there."""
        last: dict[str, ImageChanged] = {}
        for message in self.outbox.to(self.topics.image_changes):
            if message.value is None:
                last = {key: change for key, change in last.items() if encode_key(ref(key)) != message.key}
                continue
            change = ImageChanged.decode(message.value)
            assert change.key not in last or change.version > last[change.key].version
            last[change.key] = change
        return {key: (str(each.state), each.sha256) for key, each in last.items() if each.state != "removed"}


def ref(key: str) -> ObjectRef:
    """A key in the bucket."""
    return ObjectRef(BUCKET, key)


def content_of(data: bytes) -> ContentId:
    """The content of these bytes."""
    return ContentId(BUCKET, hashlib.sha256(data).hexdigest())


def embedding_of(data: bytes) -> Vector:
    """A unit vector of its own for each picture."""
    raw = np.frombuffer(hashlib.sha256(data).digest()[: 2 * DIMENSION], dtype=np.uint16).astype(np.float32) - 32768
    return (raw / np.linalg.norm(raw)).astype(np.float32)


class PictureInference:
    """Decoding and embedding in no time."""

    model_name = MODEL

    async def decode(self, data: bytes) -> DecodedImage:
        """Pixels that only say which picture it is."""
        return DecodedImage(1, 1, "png", "image/png", np.frombuffer(data, np.uint8))

    async def embed(self, pictures: Sequence[Pixels]) -> list[Vector]:
        """The embeddings of decoded pictures."""
        return [embedding_of(pixels.tobytes()) for pixels in pictures]


class Patient:
    """Waits for what the database asks for."""

    async def run[T](self, step: Callable[[], Awaitable[T]]) -> T:
        """See Retry."""
        return await patiently(step)


async def patiently[T](step: Callable[[], Awaitable[T]]) -> T:
    """Run a step again while the database asks for it."""
    while True:
        try:
            return await step()
        except Outage:
            await asyncio.sleep(0.01)
