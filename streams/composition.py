"""The composition root of a worker: builds what the settings name, and knows what must be closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import stamina

from imaging.model_spec import ModelSpec, load_spec
from schemas.errors import RefusedUrl
from schemas.settings import Settings
from stores.broker.backlog import KafkaBacklog
from stores.broker.kafka import KafkaOutbox
from stores.catalog.engine import create_engine
from stores.catalog.requests import SqlRequestLedger
from stores.catalog.sql import SqlCatalog
from stores.objects.opening import open_objects
from stores.urls import GuardedFetcher, UnreachableUrl
from stores.vectors.milvus import MilvusVectors
from streams.carry_out_request import RequestPorts
from streams.patience import Outages, Patience
from streams.ports import Ports
from streams.steps import checkpoint_from_environment

FETCH_ATTEMPTS = 3
"""At a producer's URL whose server does not deliver."""


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker works with."""

    settings: Settings
    ports: Ports
    patience: Patience
    spec: ModelSpec
    requests: RequestPorts


@asynccontextmanager
async def worker_parts(settings: Settings) -> AsyncIterator[WorkerParts]:
    """Build all adapters; nothing connects before its first use."""
    spec = load_spec(settings.model.spec)
    async with AsyncExitStack() as closing:
        objects = open_objects(settings.objects)
        closing.push_async_callback(objects.close)
        catalog = SqlCatalog(create_engine(settings.database))
        closing.push_async_callback(catalog.close)
        vectors = MilvusVectors(settings.vectors)
        closing.push_async_callback(vectors.close)
        outbox = KafkaOutbox(settings.kafka)
        closing.push_async_callback(outbox.close)
        topics = settings.kafka.topics
        backlog = KafkaBacklog(settings.kafka, topics.contents, settings.kafka.group("index"))
        closing.push_async_callback(backlog.close)
        ports = Ports(
            objects=objects,
            catalog=catalog,
            vectors=vectors,
            outbox=outbox,
            backlog=backlog,
            topics=topics,
            limits=settings.limits,
            sweep=settings.sweep,
            publish=settings.publish,
            copy_threshold=spec.copy_threshold,
            reached=checkpoint_from_environment(),
        )
        wanted = settings.requests
        fetcher = GuardedFetcher(
            timeout_s=wanted.fetch_timeout_s, ports=wanted.fetch_ports, allow=wanted.allowed_networks
        )
        closing.push_async_callback(fetcher.close)

        async def fetch(url: str, max_bytes: int) -> tuple[bytes, str]:
            if not settings.requests.fetch_urls:
                raise RefusedUrl("fetching URLs is switched off here (requests.fetch_urls)")
            async for attempt in stamina.retry_context(on=UnreachableUrl, attempts=FETCH_ATTEMPTS):
                with attempt:
                    fetched = await fetcher.fetch(url, max_bytes=max_bytes)
            return fetched.data, fetched.content_type

        requests = RequestPorts(ports, objects, SqlRequestLedger(catalog), fetch, settings.objects.buckets)
        yield WorkerParts(settings, ports, Patience(settings.retry, Outages()), spec, requests)
