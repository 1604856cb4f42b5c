"""One run: a bucket that changes, workers that handle messages anywhere in time, faults, and then quiet."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import numpy as np

from imaging.decoding import DecodedImage
from imaging.errors import NotAnImage
from schemas.errors import Outage
from schemas.messages import ContentChanged, bucket_event, parse_bucket_event
from schemas.records import ContentId, ObjectRef
from schemas.settings import LimitSettings, SweepSettings
from schemas.topics import Topics
from stores.broker.ports import OutgoingMessage
from stores.objects.memory import MemoryObjects
from stores.vectors.memory import MemoryVectors
from stores.vectors.ports import Vector
from streams.steps import Step
from tests.simulation.chaos import Broker, Chaos, ChaoticCatalog, ChaoticObjects, ChaoticVectors
from tests.simulation.handlers import Handlers
from tests.simulation.loop import SimulatedLoop

BUCKET = "pictures"
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = "model"
DIMENSION = 4
PICTURES = (b"picture A", b"picture B", b"no picture")
TOPICS = Topics()


@dataclass(frozen=True, slots=True)
class Shape:
    """What one run is like; drawn by its seed."""

    keys: int
    pictures: int
    operations: int
    deletes: float
    """The chance that an operation is a delete."""
    lost_vectors: float
    """The chance that an operation is the index losing a vector."""
    crashes: int
    losses: int
    duplicates: int
    workers: int
    haste: float
    """The chance per move that the bucket changes though workers are busy."""
    zombies: float
    """The chance that a worker takes a message that another one holds."""
    stall: float
    """The chance that a worker stops at a named point, until the driver wakes it."""
    stall_at: Step | None
    """The only point where workers stop, if not any."""
    disturbance: float
    """The chance that the bucket changes in the moment in which a worker stops."""


def draw_shape(random: Random) -> Shape:
    """Small runs: most faults need few keys and few steps."""
    return Shape(
        keys=random.choice((1, 1, 2, 3)),
        pictures=random.choice((1, 1, 2, 3)),
        operations=random.randint(2, 10),
        deletes=random.choice((0.3, 0.45)),
        lost_vectors=random.choice((0.05, 0.3)),
        crashes=random.choice((0, 0, 1, 2, 3)),
        losses=random.choice((0, 0, 1, 2)),
        duplicates=random.choice((0, 1, 2)),
        workers=random.choice((2, 3, 4, 6)),
        haste=random.choice((0.0, 0.02, 0.1, 0.3)),
        zombies=random.choice((0.0, 0.05, 0.3)),
        stall=random.choice((0.0, 0.05, 0.3)),
        stall_at=random.choice((None, *Step)),
        disturbance=random.choice((0.0, 0.3)),
    )


@dataclass(eq=False, slots=True)
class Message:
    """A message on a topic; it stays there until somebody acknowledges it, and may be held by several workers."""

    value: bytes
    holders: int = 0


@dataclass(slots=True)
class World:
    """The state of one run."""

    seed: int
    handlers: Handlers
    random: Random
    loop: SimulatedLoop
    chaos: Chaos
    shape: Shape
    objects: MemoryObjects
    vectors: MemoryVectors
    catalog: ChaoticCatalog
    ports: Any = None
    policy: Any = None
    disturb: Callable[[], None] = lambda: None
    """Changes the bucket just now, while somebody is in the middle of something."""
    stalled: list[asyncio.Future[None]] = field(default_factory=list)
    queues: dict[str, list[Message]] = field(default_factory=dict)
    changes: list[OutgoingMessage] = field(default_factory=list)
    verifications: list[ContentChanged] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    quiet: bool = False
    failures: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        """The run's clock."""
        return BEGINNING + timedelta(seconds=self.loop.time())

    def accept(self, message: OutgoingMessage) -> None:
        """What Kafka does with an accepted message."""
        if message.topic == TOPICS.image_changes:
            self.changes.append(message)
        elif message.value is not None:
            self.queues.setdefault(message.topic, []).append(Message(message.value))

    def announce(self, ref: ObjectRef, event_name: str) -> None:
        """What the object store does with each change."""
        event = bucket_event(ref, event_name=event_name, event_time=self.now())
        self.queues.setdefault(TOPICS.bucket_events, []).append(Message(event))

    async def reached(self, step: str) -> None:
        """A named point: others may run, or this worker stalls."""
        await asyncio.sleep(0)
        shape = self.shape
        if self.quiet or (shape.stall_at is not None and step != shape.stall_at):
            return
        if self.random.random() < shape.stall:
            if self.random.random() < shape.disturbance:
                self.disturb()
            woken = self.loop.create_future()
            self.stalled.append(woken)
            await woken

    def wake(self) -> None:
        """Let one of the stalled workers go on."""
        woken = self.stalled.pop(self.random.randrange(len(self.stalled)))
        if not woken.done():
            woken.set_result(None)


def build(seed: int, handlers: Handlers, focus: Mapping[str, Any]) -> World:
    """The world of one seed; ``focus`` overrides parts of its shape."""
    random = Random(seed)
    shape = replace(draw_shape(random), **focus)
    tick = random.choice((1e-5, 1e-3, 3e-2))
    chaos = Chaos(random, rate=random.choice((0.0, 0.01, 0.03)), faults=random.choice((0, 2, 5)))
    greed = random.choice((0.0, 0.3, 0.7, 0.9))
    loop = SimulatedLoop(random, tick=tick, greed=greed)  # type: ignore[abstract]  # only what handlers use
    world = World(
        seed,
        handlers,
        random,
        loop,
        chaos,
        shape,
        objects=MemoryObjects([BUCKET], clock=lambda: world.now()),  # noqa: PLW0108 - world is made below
        vectors=MemoryVectors(model_id=MODEL, dimension=DIMENSION),
        catalog=ChaoticCatalog(chaos),
    )
    world.objects.on_change.append(world.announce)
    world.policy = handlers.converge_content.IndexPolicy(MODEL, max_attempts=1000, nearest=random.choice((0, 1)))
    world.ports = handlers.ports.Ports(
        objects=ChaoticObjects(world.objects, chaos),
        catalog=world.catalog,
        vectors=ChaoticVectors(world.vectors, chaos),
        outbox=Broker(world.accept, chaos),
        topics=TOPICS,
        limits=LimitSettings(),
        sweep=SweepSettings(first_wait_s=random.choice((1, 30))),
        copy_threshold=50.0,
        clock=world,
        reached=world.reached,
        vector_id=lambda: random.getrandbits(62),
    )
    return world


def embedding_of(data: bytes) -> Vector:
    """A unit vector of its own for each picture."""
    raw = np.frombuffer(hashlib.sha256(data).digest()[: DIMENSION * 2], dtype=np.uint16).astype(np.float32) - 32768
    return (raw / np.linalg.norm(raw)).astype(np.float32)


_VECTORS = {picture: embedding_of(picture) for picture in PICTURES}


async def decode(data: bytes) -> DecodedImage:
    """Pixels that only say which picture it is."""
    await asyncio.sleep(0)
    if data == b"no picture":
        raise NotAnImage("this is text")
    return DecodedImage(1, 1, "png", "image/png", np.frombuffer(data, np.uint8))


def embed(image: DecodedImage) -> Vector:
    """The embedding of a decoded picture."""
    return _VECTORS[image.pixels.tobytes()]


async def patiently[T](world: World, step: Callable[[], Awaitable[T]]) -> T:
    """Wait out outages, as ``streams.patience`` does."""
    while True:
        try:
            return await step()
        except Outage:
            await asyncio.sleep(world.random.random() * 1e-2)


async def ingest(world: World, messages: list[Message]) -> None:
    """An ingest worker with a batch."""
    hints = {hint.ref: hint for message in messages for hint in parse_bucket_event(message.value)}
    converge = world.handlers.converge_object.converge_object
    await asyncio.gather(*[patiently(world, partial(converge, hint, world.ports)) for hint in hints.values()])
    _acknowledge(world, TOPICS.bucket_events, messages)


async def index(world: World, messages: list[Message]) -> None:
    """An index worker with a batch."""
    wanted: dict[ContentId, ContentChanged] = {}
    for message in messages:
        changed = ContentChanged.decode(message.value)
        earlier = wanted.get(changed.content_id, changed)
        wanted[changed.content_id] = changed.model_copy(update={"verify": changed.verify or earlier.verify})
    handlers, ports, policy = world.handlers.converge_content, world.ports, world.policy
    results = await asyncio.gather(
        *[patiently(world, partial(handlers.prepare, changed, ports, policy, decode)) for changed in wanted.values()]
    )
    prepared = [result for result in results if isinstance(result, handlers.Prepared)]
    settled = [result for result in results if isinstance(result, handlers.Settled)]
    await world.reached("content.embedded")
    entries = [(item, embed(item.image)) for item in prepared]
    settled += await patiently(world, lambda: handlers.store(entries, ports, policy))
    world.chaos.storing.pop(asyncio.current_task(), None)
    await asyncio.gather(*[patiently(world, partial(handlers.settle, item, ports)) for item in settled])
    _acknowledge(world, TOPICS.contents, messages)


def _acknowledge(world: World, topic: str, messages: list[Message]) -> None:
    queue = world.queues[topic]
    for message in messages:
        if message in queue:
            queue.remove(message)


async def sweep(world: World) -> None:
    """The sweep, once."""
    await patiently(world, lambda: world.handlers.sweep.sweep(world.ports))
