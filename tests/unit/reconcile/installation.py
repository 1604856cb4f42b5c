"""An installation in memory: the real handlers over the in-memory ports, with reconcile beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from imaging.histogram import HistogramEmbedder
from schemas.records import ObjectRef
from schemas.settings import LimitSettings, ReconcileSettings, RetrySettings, Settings
from schemas.topics import Topics
from stores.broker.memory import MemoryBacklog, MemoryOutbox
from stores.broker.ports import OutgoingMessage
from stores.catalog.memory import MemoryCatalog
from stores.objects.left_out import LeftOut, VisibleObjects
from stores.objects.memory import MemoryObjects
from stores.vectors.memory import MemoryVectors
from stores.vectors.ports import VectorEntry
from streams.deliveries import DeadLetters, Delivery
from streams.index import Index
from streams.inference import InferenceThreads
from streams.ingest import Ingest
from streams.patience import Outages, Patience
from streams.ports import Ports
from streams.reconcile.drift import Report
from streams.reconcile.run import Reconciliation, Scope

BUCKET = "pictures"


class ManualClock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """The moment, a microsecond later each time, as on a real machine."""
        self.moment += timedelta(microseconds=1)
        return self.moment

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.moment += timedelta(seconds=seconds)


class Installation:
    """Bucket, catalog, vectors, and workers that run when told to."""

    def __init__(
        self,
        *,
        limits: LimitSettings | None = None,
        vectors: MemoryVectors | None = None,
        outbox: MemoryOutbox | None = None,
        buckets: Sequence[str] = (BUCKET,),
    ) -> None:
        self.clock = ManualClock()
        self.objects = MemoryObjects(buckets, clock=lambda: self.clock.moment)
        self.catalog = MemoryCatalog()
        self.vectors = vectors or MemoryVectors(
            model_name=HistogramEmbedder.model_name, dimension=HistogramEmbedder.dimension
        )
        self.outbox = outbox or MemoryOutbox()
        self.settings = Settings(
            limits=limits or LimitSettings(),
            retry=RetrySettings(budget_s=30, wait_initial_s=0, wait_max_s=0, wait_jitter_s=0),
        )
        left_out = LeftOut(self.settings.objects.exclude)
        self.ports = Ports(
            objects=VisibleObjects(self.objects, left_out),
            catalog=self.catalog,
            vectors=self.vectors,
            outbox=self.outbox,
            backlog=MemoryBacklog(),
            topics=Topics("t."),
            limits=self.settings.limits,
            sweep=self.settings.sweep,
            copy_threshold=80,
            left_out=left_out,
            clock=self.clock,
        )
        self.patience = Patience(self.settings.retry, Outages(self.clock))
        self._handled = 0

    def put(self, key: str, data: bytes) -> None:
        """Store an object of which nobody is told."""
        self.objects.put_now(ObjectRef(BUCKET, key), data)

    def delete(self, key: str) -> None:
        """Delete an object of which nobody is told."""
        self.objects.delete_now(ObjectRef(BUCKET, key))

    def exclude(self, *globs: str) -> None:
        """Leave out what these globs match from now on, and nothing else."""
        left_out = LeftOut(globs)
        self.ports = replace(self.ports, objects=VisibleObjects(self.objects, left_out), left_out=left_out)

    async def add_vector(self, vector_id: int) -> None:
        """Store a vector that no content carries."""
        vector = np.zeros(HistogramEmbedder.dimension, dtype=np.float32)
        vector[vector_id % vector.size] = 1
        await self.vectors.upsert([VectorEntry(vector_id, BUCKET, vector)])

    async def work(self) -> None:
        """Let the workers handle everything that was sent, until nothing is left."""
        aside = DeadLetters(self.ports, self.patience, "ingest", self.settings.kafka.max_message_bytes)
        ingest = Ingest(self.ports, self.patience, aside, self.settings)
        inference = InferenceThreads(HistogramEmbedder(), self.settings.limits, decode_threads=1)
        index = Index(
            self.ports,
            self.patience,
            replace(aside, stage="index"),
            self.settings.index,
            inference,
            buckets=self.settings.objects.buckets,
        )
        try:
            while self._handled < len(self.outbox.sent):
                fresh = self.outbox.sent[self._handled :]
                self._handled = len(self.outbox.sent)
                await ingest.handle(_deliveries(fresh, self.ports.topics.bucket_events))
                await index.handle(_deliveries(fresh, self.ports.topics.contents))
        finally:
            inference.close()

    async def reconcile(
        self, *, prefix: str = "", dry_run: bool = False, force: bool = False, page: int = 3, rate: int = 1_000_000
    ) -> Report:
        """One run to its end."""
        scope = Scope(BUCKET, prefix, dry_run, force)
        return [report async for report in self.reconciliation(page=page, rate=rate).run(scope)][-1]

    def impatience(self) -> Patience:
        """Waits out no outage that lasts."""
        settings = RetrySettings(budget_s=0.001, wait_initial_s=0, wait_max_s=0, wait_jitter_s=0)
        return Patience(settings, Outages(self.clock))

    def reconciliation(self, *, page: int = 3, rate: int = 1_000_000) -> Reconciliation:
        """Small pages, so that a few objects make many."""
        settings = ReconcileSettings(rate=rate)
        return Reconciliation(self.ports, self.patience, settings, sleep=self.clock.sleep, page=page)

    def agrees(self) -> bool:
        """Whether bucket, catalog and vectors say the same."""
        present = set(self.objects.present(BUCKET))
        known = {image.key for image in self.catalog.image_rows.values() if image.exists}
        referred = {image.content_id for image in self.catalog.image_rows.values() if image.content_id}
        indexed = {row.vector_id for row in self.catalog.content_rows.values() if row.state == "indexed"}
        return (
            present == known and referred == set(self.catalog.content_rows) and indexed == set(self.vectors.present())
        )


def _deliveries(messages: Sequence[OutgoingMessage], topic: str) -> list[Delivery]:
    return [
        Delivery(topic, 0, offset, message.key, message.value, message.headers)
        for offset, message in enumerate(messages)
        if message.topic == topic
    ]
