"""What the handlers work with: the ports, and the bounded machinery of one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Protocol

from fastapi import Depends, Request

from imaging.limits import DecodeLimits
from query_api.body_guard import ByteBudget
from query_api.cpu import CpuPool, EmbeddingQueue
from query_api.gathered import GatheredCatalog, GatheredVectors
from query_api.links import Links
from query_api.live_model import ModelSource
from query_api.metrics import Metrics
from query_api.outage_log import OutageLog
from query_api.overviews import Overviews
from query_api.readiness import Check, Readiness
from query_api.thumbnails import Thumbnails
from schemas.settings import Settings
from stores.catalog.reading.ports import CatalogReader
from stores.objects.ports import ObjectReader
from stores.urls import Fetched
from stores.vectors.ports import VectorReader


class UrlFetcher(Protocol):
    """Fetching what a client names by URL. Adapter: ``stores.urls.GuardedFetcher``."""

    async def fetch(self, url: str, *, max_bytes: int) -> Fetched:
        """The bytes behind a URL. Raises RefusedUrl (and of that UnreachableUrl)."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Ports:
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
    """One per app."""

    settings: Settings
    ports: Ports
    catalog: GatheredCatalog
    vectors: GatheredVectors
    metrics: Metrics
    limits: DecodeLimits
    pool: CpuPool
    embedding: EmbeddingQueue
    thumbnails: Thumbnails
    overviews: Overviews
    budget: ByteBudget
    links: Links
    outage_log: OutageLog
    readiness: Readiness

    def close(self) -> None:
        """End the threads; the ports belong to who made them."""
        self.pool.close()
        self.embedding.close()


def assemble(settings: Settings, ports: Ports) -> Services:
    """The machinery that the settings ask for. Connects to nothing."""
    metrics = Metrics()
    api = settings.api
    limits = DecodeLimits(
        max_bytes=settings.limits.max_object_bytes,
        max_pixels=settings.limits.max_pixels,
        max_side=settings.limits.max_side,
        max_memory=settings.limits.max_decode_memory,
    )
    outage_log = OutageLog()
    budget = ByteBudget(api.max_bytes_in_flight, metrics, largest_request=api.max_request_bytes)
    pool = CpuPool(threads=api.decode_threads, max_waiting=api.max_waiting, metrics=metrics)
    return Services(
        settings=settings,
        ports=ports,
        catalog=GatheredCatalog(ports.catalog),
        vectors=GatheredVectors(ports.vectors),
        metrics=metrics,
        limits=limits,
        pool=pool,
        embedding=EmbeddingQueue(batch=api.embed_batch, max_waiting=api.max_waiting, metrics=metrics),
        thumbnails=Thumbnails(ports.objects, pool, budget, limits, metrics, max_bytes=api.thumbnail_cache_bytes),
        overviews=Overviews(ports.catalog, ports.vectors, ports.clock),
        budget=budget,
        links=Links(api.public_url),
        outage_log=outage_log,
        readiness=Readiness(_checks(settings, ports), outage_log),
    )


def _checks(settings: Settings, ports: Ports) -> dict[str, Check]:
    async def objects() -> None:
        for bucket in settings.objects.buckets:
            await ports.objects.check(bucket)

    return {
        "catalog": ports.catalog.check,
        "vectors": ports.vectors.check,
        "objects": objects,
        "model": ports.model.current,
    }


async def services_of(request: Request) -> Services:
    """The app's services; a coroutine, since FastAPI runs a plain function in a thread."""
    services: Services = request.app.state.services
    return services


Using = Annotated[Services, Depends(services_of)]
