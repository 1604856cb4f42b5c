"""One run: a bucket that changes, workers that handle messages anywhere in time, faults, and then quiet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import numpy as np

from imaging.decoding import DecodedImage, Pixels
from imaging.errors import NotAnImage
from schemas.collection import VIEWS, ViewLayout, view_collections
from schemas.errors import ModelsChanged, Outage
from schemas.messages import ContentChanged, bucket_event, parse_bucket_event
from schemas.records import ContentState, ObjectRef
from schemas.settings import IndexSettings, PublishSettings, SweepSettings
from schemas.topics import Topics
from stores.broker.ports import OutgoingMessage
from stores.objects.memory import MemoryObjects
from stores.vectors.memory import MemoryVectors
from stores.vectors.ports import Vector
from stores.vectors.views import VectorsWithViews
from streams.assembly import dead_letters, for_index, for_objects, for_sweep, for_switch
from streams.common.checkpoints import Step
from streams.common.deliveries import Delivery
from streams.index.batches import Index
from streams.ingest import converge_objects
from streams.models.serving import served_vectors
from streams.models.switch import Switching
from streams.repair import sweep as sweeping
from tests.harness.inference import DIMENSION, MODEL, embedding_of, view_of
from tests.harness.installation import BEGINNING, BUCKET, ports_in_memory
from tests.simulation.chaos import WORKER, Broker, Chaos, ChaoticCatalog, ChaoticObjects, ChaoticVectors
from tests.simulation.loop import SimulatedLoop
from tests.simulation.switches import NEW, End, Switcher, draw_switches

PICTURES = (b"picture A", b"picture B", b"no picture")
TOPICS = Topics()
RECORDED = (Step.IMAGE_SENT, Step.IMAGE_PUBLISHED, Step.CONTENT_CLEARED, Step.BATCH_HANDLED)
"""Where a worker has recorded the vectors that it stored, and deleted those that nobody waited for."""
MAX_ATTEMPTS = 100
"""More than crashes, zombies and lost answers can use up."""


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
    stall_at: tuple[Step, ...]
    """The points where workers stop."""
    disturbance: float
    """The chance that the bucket changes in the moment in which a worker stops."""
    processes: int
    """Index workers that batches are spread over; 0 for one that handles nothing else for each batch."""
    announced_twice: float
    """The chance that a change is announced twice, as by an object store with two targets."""
    denials: int
    """How often an object can't be read, until the end or for a while."""
    bucket_outages: int
    """How often the bucket is away for a while."""
    tombstone_after_s: float
    """How long a removed image is kept."""
    late_tombstones: float
    """The chance that a tombstone arrives after its sender has given it up."""
    misreads: int
    """How often an object is misread."""
    switches: tuple[End, ...] = ()
    """What becomes of the switches of models."""
    views: ViewLayout = "none"
    """Which views of the contents are indexed."""


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
        stall_at=random.choice((tuple(Step), *((step,) for step in Step))),
        disturbance=random.choice((0.0, 0.3)),
        processes=random.choice((0, 0, 2)),
        announced_twice=random.choice((0.0, 0.3, 1.0)),
        denials=random.choice((0, 0, 1, 3)),
        bucket_outages=random.choice((0, 0, 1)),
        tombstone_after_s=random.choice((0, 0.1, 30, 3600)),
        late_tombstones=random.choice((0.0, 0.3)),
        misreads=random.choice((0, 0, 0, 2)),
    )


def draw_views(seed: int) -> ViewLayout:
    """Most runs have none. By a chance of its own: runs without views stay what they are."""
    return Random(f"views of {seed}").choice(("none", "none", "none", "quarters"))


@dataclass(eq=False, slots=True)
class Message:
    """A message on a topic; it stays there until somebody acknowledges it, and may be held by several workers."""

    value: bytes
    holders: int = 0


@dataclass(slots=True)
class World:
    """The state of one run."""

    seed: int
    random: Random
    loop: SimulatedLoop
    chaos: Chaos
    shape: Shape
    objects: MemoryObjects
    vectors: MemoryVectors
    catalog: ChaoticCatalog
    ports: Any = None
    switcher: Any = None
    """The command that switches models."""
    indexes: list[Index] = field(default_factory=list)
    new_index: Any = None
    """Starts an index worker."""
    disturb: Callable[[], None] = lambda: None
    """Changes the bucket just now, while somebody is in the middle of something."""
    stalled: list[asyncio.Future[None]] = field(default_factory=list)
    queues: dict[str, list[Message]] = field(default_factory=dict)
    changes: list[OutgoingMessage] = field(default_factory=list)
    verifications: list[ContentChanged] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    sequencers: dict[ObjectRef, str] = field(default_factory=dict)
    """That of the last change of each object."""
    changed: int = 0
    quiet: bool = False
    lost: set[int] = field(default_factory=set)
    """Vectors that the index has lost."""
    failures: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        """The run's clock."""
        return BEGINNING + timedelta(seconds=self.loop.time())

    def accept(self, message: OutgoingMessage) -> None:
        """What Kafka does with an accepted message."""
        if message.topic == TOPICS.dead_letters:
            self.failures.append(f"a message that was put aside: {message.headers}")
        elif message.topic == TOPICS.image_changes:
            self.changes.append(message)
        elif message.value is not None:
            self.queues.setdefault(message.topic, []).append(Message(message.value))

    def announce(self, ref: ObjectRef, event_name: str) -> None:
        """What the object store does with each change: a sequencer of its own, however often it is announced."""
        self.changed += 1
        self.sequencers[ref] = f"{self.changed:016X}"
        event = _announcement(self, ref, event_name)
        for _ in range(2 if self.random.random() < self.shape.announced_twice else 1):
            self.queues.setdefault(TOPICS.bucket_events, []).append(Message(event))

    def alias_moved(self) -> None:
        """Whoever searches goes to another collection now: what is indexed must be there."""
        there = set(self.vectors.present())
        live = self.vectors._server.alias
        assert live is not None
        for name in view_collections(live, self.shape.views):
            there &= set(self.vectors.of(name).present())
        for row in self.catalog.content_rows.values():
            if row.state is ContentState.INDEXED and row.vector_id not in there and row.vector_id not in self.lost:
                self.failures.append("the alias was moved to a collection that lacks a vector")

    async def reached(self, step: str) -> None:
        """A named point: others may run, or this worker stalls."""
        if step in RECORDED:
            self.chaos.storing.pop(WORKER.get(), None)
        await asyncio.sleep(0)
        shape = self.shape
        if self.quiet or step not in shape.stall_at:
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


def build(seed: int, focus: Mapping[str, Any]) -> World:
    """The world of one seed; ``focus`` overrides parts of its shape."""
    random = Random(seed)
    # A bug that is looked for elsewhere is found more quickly without.
    drawn = {} if focus else {"switches": draw_switches(seed), "views": draw_views(seed)}
    shape = replace(draw_shape(random), **{**drawn, **focus})
    tick = random.choice((1e-5, 1e-3, 3e-2))
    chaos = Chaos(random, rate=random.choice((0.0, 0.01, 0.03)), faults=random.choice((0, 2, 5)))
    greed = random.choice((0.0, 0.3, 0.7, 0.9))
    loop = SimulatedLoop(random, tick=tick, greed=greed)  # type: ignore[abstract]  # only what handlers use
    world = World(
        seed,
        random,
        loop,
        chaos,
        shape,
        objects=MemoryObjects([BUCKET], clock=lambda: world.now()),  # noqa: PLW0108 - world is made below
        vectors=MemoryVectors(model_name=MODEL, dimension=DIMENSION),
        catalog=ChaoticCatalog(chaos),
    )
    world.objects.on_change.append(world.announce)
    settings = IndexSettings(max_attempts=MAX_ATTEMPTS, nearest=random.choice((0, 1)))
    # They have the methods that handlers call, and not all of their ports'.
    objects: Any = ChaoticObjects(world.objects, chaos, misreads=shape.misreads)
    vectors: Any = ChaoticVectors(world.vectors, chaos, lambda: world.alias_moved())  # noqa: PLW0108 - as above
    if shape.views != "none":
        [live] = world.vectors.collections()
        for name in view_collections(live, shape.views):
            world.vectors.make(name, MODEL, DIMENSION)
        vectors = VectorsWithViews(vectors, shape.views)
    world.ports = ports_in_memory(
        objects=objects,
        catalog=world.catalog,
        vectors=vectors,
        outbox=Broker(world.accept, chaos, late_tombstones=shape.late_tombstones),
        topics=TOPICS,
        sweep=SweepSettings(first_wait_s=random.choice((1, 30)), unreadable_first_wait_s=10, unreadable_max_wait_s=900),
        publish=PublishSettings(tombstone_after_hours=shape.tombstone_after_s / 3600),
        clock=world,
        reached=world.reached,
        vector_id=lambda: random.getrandbits(62),
    )
    retry: Any = Patient(world)

    async def pause(_seconds: float) -> None:
        await asyncio.sleep(random.random() * 50 * tick)

    world.switcher = Switcher(Switching(for_switch(world.ports), retry, [BUCKET], pause), shape.switches)
    world.new_index = lambda: _index_worker(world, settings)
    world.indexes = [world.new_index() for _ in range(shape.processes)]
    return world


def _index_worker(world: World, settings: IndexSettings) -> Index:
    """A new process, which goes by the models that are served right now."""
    switch = world.catalog.switch_row
    ports = world.ports.on(served_vectors(world.ports.vectors, switch))
    if switch.in_use is None:
        name = world.vectors._server.alias
        assert name is not None
        ports = replace(ports, vectors=world.ports.vectors.of(name))
        mark = world.vectors._server.collections[name].model_name
    else:
        mark = switch.in_use.mark
    retry: Any = Patient(world, switch.version)
    other = PictureInference(switch.other.mark) if switch.other else None
    aside = dead_letters(ports, retry, "index", 1_000_000)
    return Index(for_index(ports), retry, aside, settings, PictureInference(mark), other=other)


def _announcement(world: World, ref: ObjectRef, event_name: str) -> bytes:
    """An event as MinIO sends it: with ETag and size of what was put."""
    present = world.objects._buckets[ref.bucket].get(ref.key)
    etag, size = (present.state.etag, present.state.size) if present else (None, None)
    event = bucket_event(ref, event_name=event_name, event_time=world.now(), sequencer=world.sequencers[ref], etag=etag)
    record = json.loads(event)
    record["Records"][0]["s3"]["object"]["size"] = size
    return json.dumps(record).encode()


def other_embedding_of(data: bytes) -> Vector:
    """Likewise by the other model, which has another dimension."""
    raw = embedding_of(data)[: NEW.dimension]
    return (raw / np.linalg.norm(raw)).astype(np.float32)


_SEEN = [each for picture in PICTURES for each in (picture, *(view_of(picture, number) for number in range(1, 10)))]
_VECTORS = {each: embedding_of(each) for each in _SEEN}
_OTHER_VECTORS = {each: other_embedding_of(each) for each in _SEEN}


class PictureInference:
    """Decoding and embedding in no time, by the model with this mark."""

    pixel_spec = None

    def __init__(self, mark: str) -> None:
        self.model_name = mark
        self._vectors = _OTHER_VECTORS if mark.startswith(NEW.name) else _VECTORS

    async def decode(self, data: bytes, layout: ViewLayout) -> DecodedImage:
        """Pixels that only say which picture it is, and which view of it."""
        await asyncio.sleep(0)
        if data == b"no picture":
            raise NotAnImage("this is text")
        views = [np.frombuffer(view_of(data, number), np.uint8) for number in range(1, VIEWS[layout] + 1)]
        return DecodedImage(1, 1, "png", "image/png", np.frombuffer(data, np.uint8), views=views)

    async def embed(self, pictures: Sequence[Pixels]) -> list[Vector]:
        """The embeddings of decoded pictures."""
        await asyncio.sleep(0)
        return [self._vectors[pixels.tobytes()] for pixels in pictures]


class Patient:
    """Waits out outages, as ``streams.common.backoff`` does, and never gives up. Any other error is a finding.

    A worker that was started by a ``version`` of the switch of models notices, while it waits, that it is another.
    """

    def __init__(self, world: World, version: int | None = None) -> None:
        self._world = world
        self._version = version

    async def run[T](self, step: Callable[[], Awaitable[T]]) -> T:
        """See Retry."""
        while True:
            try:
                return await step()
            except ModelsChanged:
                raise
            except Outage:
                if self._version not in (None, self._world.catalog.switch_row.version):
                    raise ModelsChanged("other models are served by now") from None
                await asyncio.sleep(self._world.random.random() * 1e-2)
            except Exception as error:
                self._world.failures.append(f"bug: {type(error).__name__}: {error}")
                raise


async def ingest(world: World, messages: list[Message]) -> None:
    """An ingest worker with a batch."""
    hints = [hint for message in messages for hint in parse_bucket_event(message.value)]
    await Patient(world).run(lambda: converge_objects.converge_objects(hints, for_objects(world.ports)))
    _acknowledge(world, TOPICS.bucket_events, messages)


async def index(world: World, messages: list[Message]) -> None:
    """An index worker with a batch."""
    version = world.catalog.switch_row.version
    if world.quiet and any(each._ports.served.switch_version != version for each in world.indexes):
        # By now every worker has noticed which models are served.
        world.indexes = [world.new_index() for _ in world.indexes]
    worker = world.random.choice(world.indexes) if world.indexes else world.new_index()
    topic = TOPICS.contents
    try:
        await worker.handle([Delivery(topic, 0, offset, None, each.value, {}) for offset, each in enumerate(messages)])
    except ModelsChanged:
        # Its process ends, and another one gets its messages. It tidies up, unless that fails.
        world.chaos.may_be_orphans |= world.chaos.storing.get(WORKER.get(), set())
        world.indexes = [world.new_index() if each is worker else each for each in world.indexes]
        return
    _acknowledge(world, topic, messages)


def _acknowledge(world: World, topic: str, messages: list[Message]) -> None:
    queue = world.queues[topic]
    for message in messages:
        if message in queue:
            queue.remove(message)


async def sweep(world: World) -> None:
    """The sweep, once."""
    await Patient(world).run(lambda: sweeping.sweep(for_sweep(world.ports)))
