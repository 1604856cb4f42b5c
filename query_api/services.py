"""Puts the handlers together: each is given the ports that it touches, and the bounded machinery of one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from imaging.limits import DecodeLimits
from query_api.metrics import Metrics
from query_api.pictures.derived import Workplace
from query_api.pictures.local_features import LocalFeaturesCache
from query_api.pictures.remembered import RememberedUploads
from query_api.pictures.thumbnails import Thumbnails
from query_api.pictures.uploaded import UploadedPictures
from query_api.search.live_model import ModelSource
from query_api.search.queries import Queries
from query_api.search.search import Ranker
from query_api.search.status import Status
from query_api.search.verifying import JudgedSearch, Verifying
from query_api.sharing.byte_budget import ByteBudget
from query_api.sharing.cpu import CpuPool, EmbeddingQueue
from query_api.sharing.gathered import GatheredCatalog
from query_api.sharing.outage_log import OutageLog
from query_api.sharing.overviews import Overviews
from query_api.sharing.readiness import Check, Readiness
from schemas.settings import Settings
from stores.catalog.reading.ports import CatalogReader
from stores.objects.ports import ObjectReader
from stores.urls import UrlFetcher
from stores.vectors.ports import VectorReader


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ReadingPorts:
    """The outside world, for reading only. ``urls`` is None where searching by URL is off."""

    catalog: CatalogReader
    vectors: VectorReader
    objects: ObjectReader
    model: ModelSource
    urls: UrlFetcher | None = None
    now: Callable[[], datetime] = _now
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Services:
    """One per app. No route is handed all of it: ``query_api.http.dependencies`` gives each what it needs."""

    settings: Settings
    metrics: Metrics
    budget: ByteBudget
    outages: OutageLog
    readiness: Readiness
    models: ModelSource
    catalog: CatalogReader
    gathered: GatheredCatalog
    objects: ObjectReader
    overviews: Overviews
    status: Status
    thumbnails: Thumbnails
    pictures: UploadedPictures
    queries: Queries
    ranker: Ranker
    verifying: Verifying
    search: JudgedSearch

    def close(self) -> None:
        """End the threads; the ports belong to who made them."""
        self.pictures.pool.close()
        self.queries.embedding.close()


def assemble(settings: Settings, ports: ReadingPorts) -> Services:
    """The handlers that the settings ask for. Connects to nothing."""
    api = settings.api
    limits = DecodeLimits(
        max_bytes=settings.limits.max_object_bytes,
        max_pixels=settings.limits.max_pixels,
        max_side=settings.limits.max_side,
        max_memory=settings.limits.max_decode_memory,
    )
    metrics, outages = Metrics(), OutageLog()
    budget = ByteBudget(api.max_bytes_in_flight, metrics, largest_request=api.max_request_bytes)
    pool = CpuPool(threads=api.decode_threads, max_waiting=api.max_waiting, metrics=metrics)
    embedding = EmbeddingQueue(batch=api.embed_batch, max_waiting=api.max_waiting, metrics=metrics)
    workplace = Workplace(ports.objects, pool, budget, metrics)
    gathered = GatheredCatalog(ports.catalog)
    overviews = Overviews(ports.catalog, ports.vectors, ports.clock)
    pictures = UploadedPictures(pool, limits)
    remembered = RememberedUploads(max_bytes=api.remembered_bytes, clock=ports.clock)
    features = LocalFeaturesCache(workplace, limits, max_bytes=api.features_cache_bytes)
    verifying = Verifying(features, api.verify_timeout_s)
    ranker = Ranker(gathered, metrics)
    return Services(
        settings=settings,
        metrics=metrics,
        budget=budget,
        outages=outages,
        readiness=Readiness(_checks(settings, ports), outages),
        models=ports.model,
        catalog=ports.catalog,
        gathered=gathered,
        objects=ports.objects,
        overviews=overviews,
        status=Status(overviews, ports.model, outages, ports.now),
        thumbnails=Thumbnails(workplace, limits, max_bytes=api.thumbnail_cache_bytes),
        pictures=pictures,
        queries=Queries(gathered, pictures, embedding, remembered, ports.urls, metrics),
        ranker=ranker,
        verifying=verifying,
        search=JudgedSearch(ranker, verifying, api.verify_best, overviews),
    )


def _checks(settings: Settings, ports: ReadingPorts) -> dict[str, Check]:
    async def objects() -> None:
        for bucket in settings.objects.buckets:
            await ports.objects.check(bucket)

    return {
        "catalog": ports.catalog.check,
        "vectors": ports.vectors.check,
        "objects": objects,
        "model": ports.model.current,
    }
