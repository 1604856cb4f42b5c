"""An installation in memory whose bucket is compared with the catalog, and which decodes and embeds real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from imaging.histogram import HistogramEmbedder
from schemas.settings import LimitSettings, ReconcileSettings, RetrySettings, Settings
from schemas.topics import Topics
from stores.broker.memory import MemoryOutbox
from stores.catalog.memory import MemoryCatalog
from stores.objects.left_out import LeftOut, VisibleObjects
from stores.vectors.memory import MemoryVectors
from stores.vectors.ports import VectorEntry
from streams.assembly import for_reconcile
from streams.common.backoff import OutageRetry, Outages
from streams.index.inference import InferenceThreads
from streams.repair.drift import Report
from streams.repair.reconcile import Reconciliation, Scope
from tests.harness.installation import AT_ONCE, BUCKET, Installation, ref


class Reconciled(Installation):
    """Bucket, catalog and vectors, of which nobody is told what happens in the bucket."""

    def __init__(
        self,
        *,
        limits: LimitSettings | None = None,
        vectors: MemoryVectors | None = None,
        outbox: MemoryOutbox | None = None,
        buckets: Sequence[str] = (BUCKET,),
    ) -> None:
        self.catalog = MemoryCatalog()
        model, dimension = HistogramEmbedder.model_name, HistogramEmbedder.dimension
        super().__init__(
            self.catalog,
            settings=Settings(limits=limits or LimitSettings(), retry=AT_ONCE),
            buckets=buckets,
            vectors=vectors or MemoryVectors(model_name=model, dimension=dimension),
            outbox=outbox,
        )
        self.topics = Topics("t.")
        self.ports = replace(self.ports, topics=self.topics, copy_threshold=80)
        self.exclude(*self.settings.objects.exclude)

    def put(self, key: str, data: bytes) -> None:
        """Store an object."""
        self.objects.put_now(ref(key), data)

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
        self.inference = inference = InferenceThreads(HistogramEmbedder(), self.settings.limits, decode_threads=1)
        try:
            await super().work()
        finally:
            inference.close()

    async def reconcile(
        self, *, prefix: str = "", dry_run: bool = False, force: bool = False, page: int = 3, rate: int = 1_000_000
    ) -> Report:
        """One run to its end."""
        scope = Scope(BUCKET, prefix, dry_run, force)
        return [report async for report in self.reconciliation(page=page, rate=rate).run(scope)][-1]

    def impatience(self) -> OutageRetry:
        """Waits out no outage that lasts."""
        settings = RetrySettings(budget_s=0.001, wait_initial_s=0, wait_max_s=0, wait_jitter_s=0)
        return OutageRetry(settings, Outages(self.clock))

    def reconciliation(self, *, page: int = 3, rate: int = 1_000_000) -> Reconciliation:
        """Small pages, so that a few objects make many."""
        settings = ReconcileSettings(rate=rate)
        return Reconciliation(for_reconcile(self.ports), self.retry, settings, sleep=self.clock.sleep, page=page)

    def agrees(self) -> bool:
        """Whether bucket, catalog and vectors say the same."""
        present = set(self.objects.present(BUCKET))
        known = {image.key for image in self.catalog.image_rows.values() if image.exists}
        referred = {image.content_id for image in self.catalog.image_rows.values() if image.content_id}
        indexed = {row.vector_id for row in self.catalog.content_rows.values() if row.state == "indexed"}
        return (
            present == known and referred == set(self.catalog.content_rows) and indexed == set(self.vectors.present())
        )
