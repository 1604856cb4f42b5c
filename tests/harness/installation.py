"""An installation in memory: the real handlers over stores in memory, or over those that are given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.records import ContentId, ObjectRef
from schemas.settings import LimitSettings, RetrySettings, Settings, SweepSettings
from schemas.topics import Topics
from stores.broker.memory import MemoryBacklog, MemoryOutbox
from stores.broker.ports import OutgoingMessage
from stores.catalog.memory import MemoryCatalog
from stores.catalog.ports import Catalog
from stores.objects.memory import MemoryObjects
from stores.vectors.memory import MemoryVectors
from streams.assembly import Ports, dead_letters, for_index, for_objects
from streams.common.backoff import OutageRetry, Outages
from streams.common.deliveries import DeadLetters, Delivery
from streams.common.ports import Checkpoint
from streams.common.tracing import Traced, trace_of_event
from streams.index.batches import Index, Inference
from streams.ingest.batches import Ingest
from tests.harness.inference import DIMENSION, MODEL, PictureInference

BUCKET = "pictures"
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = RetrySettings(budget_s=30, wait_initial_s=0, wait_max_s=0, wait_jitter_s=0)


class ManualClock:
    """Time that passes by a microsecond per look, and otherwise only when a test says so."""

    def __init__(self) -> None:
        self.moment = BEGINNING

    def now(self) -> datetime:
        """The moment."""
        self.moment += timedelta(microseconds=1)
        return self.moment

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.moment += timedelta(seconds=seconds)


_IN_MEMORY: Mapping[str, Callable[[], Any]] = {
    "objects": lambda: MemoryObjects([BUCKET]),
    "catalog": MemoryCatalog,
    "vectors": lambda: MemoryVectors(model_name=MODEL, dimension=DIMENSION),
    "outbox": MemoryOutbox,
    "backlog": MemoryBacklog,
    "topics": Topics,
    "limits": LimitSettings,
    "sweep": SweepSettings,
    "copy_threshold": lambda: 50.0,
    "clock": ManualClock,
}


def ports_in_memory(**given: Any) -> Ports:
    """Ports of stores in memory and default settings, but for those that are given."""
    return Ports(**{name: make() for name, make in _IN_MEMORY.items() if name not in given}, **given)


class Installation:
    """A bucket, vectors and topics in memory, a catalog, and workers that run when told to."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        settings: Settings | None = None,
        buckets: Sequence[str] = (BUCKET,),
        objects: type[MemoryObjects] = MemoryObjects,
        vectors: MemoryVectors | None = None,
        outbox: MemoryOutbox | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.settings = settings or Settings(retry=AT_ONCE)
        self.objects = objects(buckets, clock=self.clock.now)
        self.vectors = vectors or MemoryVectors(model_name=MODEL, dimension=DIMENSION)
        self.outbox = outbox or MemoryOutbox()
        self.ports = ports_in_memory(
            objects=self.objects,
            catalog=catalog,
            vectors=self.vectors,
            outbox=self.outbox,
            limits=self.settings.limits,
            sweep=self.settings.sweep,
            clock=self.clock,
        )
        self.topics = self.ports.topics
        self.retry = OutageRetry(self.settings.retry, Outages(self.clock))
        self.inference: Inference = PictureInference()
        self._handled = 0

    def delete(self, key: str) -> None:
        """Delete an object of which nobody is told."""
        self.objects.delete_now(ref(key))

    def aside(self, stage: str) -> DeadLetters:
        """Where that worker puts what it can't handle."""
        return dead_letters(self.ports, self.retry, stage, self.settings.kafka.max_message_bytes)

    def index_worker(self, reached: Checkpoint | None = None) -> Index:
        """A worker for contents."""
        ports = replace(self.ports, reached=reached) if reached else self.ports
        buckets = self.settings.objects.buckets
        aside = self.aside("index")
        return Index(for_index(ports), self.retry, aside, self.settings.index, self.inference, buckets=buckets)

    async def work(self) -> None:
        """Let the workers handle everything that was sent, until nothing is left."""
        ingest = Traced(
            Ingest(for_objects(self.ports), self.retry, self.aside("ingest"), self.settings), trace_of_event
        )
        while self._handled < len(self.outbox.sent):
            fresh = self.outbox.sent[self._handled :]
            self._handled = len(self.outbox.sent)
            await ingest.handle(_deliveries(fresh, self.topics.bucket_events))
            await Traced(self.index_worker()).handle(_deliveries(fresh, self.topics.contents))

    def lose_messages(self) -> None:
        """Nobody will handle what was sent and not handled yet."""
        self._handled = len(self.outbox.sent)


def ref(key: str) -> ObjectRef:
    """A key in the bucket."""
    return ObjectRef(BUCKET, key)


def content_of(data: bytes) -> ContentId:
    """The content of these bytes."""
    return ContentId(BUCKET, hashlib.sha256(data).hexdigest())


def _deliveries(messages: Iterable[OutgoingMessage], topic: str) -> list[Delivery]:
    return [
        Delivery(topic, 0, number, message.key, message.value, message.headers)
        for number, message in enumerate(messages)
        if message.topic == topic
    ]
