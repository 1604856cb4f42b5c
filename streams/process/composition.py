"""The composition root of a worker: builds what the settings name, and knows what must be closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from imaging.model_spec import ModelSpec, load_spec
from schemas.errors import BucketOutage
from schemas.settings import ObjectSettings, Settings
from stores.broker.backlog import KafkaBacklog
from stores.broker.kafka import KafkaOutbox
from stores.catalog.engine import create_engine
from stores.catalog.requests import SqlRequestLedger
from stores.catalog.sql import SqlCatalog
from stores.objects.left_out import LeftOut, VisibleObjects
from stores.objects.opening import open_objects
from stores.objects.ports import ObjectWriter
from stores.urls import GuardedFetcher
from stores.vectors.milvus import MilvusVectors
from stores.vectors.views import VectorsWithViews
from streams.assembly import Ports, dead_letters, for_requests
from streams.common.backoff import BUCKET, Check, OutageRetry, Outages
from streams.common.ports import pass_by
from streams.common.tracing import TracedOutbox
from streams.models.serving import served_vectors
from streams.requests.fetching import HostFetcher
from streams.requests.outcomes import RequestPorts


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker works with."""

    settings: Settings
    ports: Ports
    objects: ObjectWriter
    retry: OutageRetry
    spec: ModelSpec
    requests: RequestPorts


@asynccontextmanager
async def worker_parts(settings: Settings) -> AsyncIterator[WorkerParts]:
    """Build all adapters; nothing connects before its first use."""
    spec = load_spec(settings.model.spec)
    async with AsyncExitStack() as closing:
        objects = open_objects(settings.objects)
        closing.push_async_callback(objects.close)
        catalog = SqlCatalog(create_engine(settings.database), settings.objects.buckets)
        closing.push_async_callback(catalog.close)
        vectors = MilvusVectors(settings.vectors)
        closing.push_async_callback(vectors.close)
        kafka = KafkaOutbox(settings.kafka)
        closing.push_async_callback(kafka.close)
        left_out = LeftOut(settings.objects.exclude)
        topics = settings.kafka.topics
        backlog = KafkaBacklog(settings.kafka, topics.contents, settings.kafka.group("index"))
        closing.push_async_callback(backlog.close)
        ports = Ports(
            objects=VisibleObjects(objects, left_out),
            catalog=catalog,
            vectors=VectorsWithViews(vectors, settings.index.views),
            outbox=TracedOutbox(kafka),
            backlog=backlog,
            topics=topics,
            limits=settings.limits,
            sweep=settings.sweep,
            publish=settings.publish,
            copy_threshold=spec.copy_threshold,
            left_out=left_out,
            reached=pass_by,
        )
        section = settings.requests
        fetcher = GuardedFetcher(
            timeout_s=section.fetch_timeout_s, ports=section.fetch_ports, allow=section.allowed_networks
        )
        closing.push_async_callback(fetcher.close)
        fetch = HostFetcher(fetcher, section).fetch
        outages = Outages(checks=dependency_checks(ports, settings.objects) | bucket_checks(ports, settings.objects))
        retry = OutageRetry(settings.retry, outages)
        aside = dead_letters(ports, retry, "outcomes", settings.kafka.max_message_bytes)
        requests = for_requests(ports, objects, SqlRequestLedger(catalog), fetch, settings.objects.buckets, aside)
        yield WorkerParts(settings, ports, objects, retry, spec, requests)


@asynccontextmanager
async def served_parts(settings: Settings) -> AsyncIterator[WorkerParts]:
    """The parts for a command that works on vectors: on the collections that are served just now. Raises Outage."""
    async with worker_parts(settings) as parts:
        ports = parts.ports
        switch = await parts.retry.run(ports.catalog.switch)
        yield replace(parts, ports=ports.on(served_vectors(ports.vectors, switch)))


def dependency_checks(ports: Ports, settings: ObjectSettings) -> dict[str, Check]:
    """The check of each dependency, by its name; that of the object store asks for one bucket, whatever the answer."""

    async def objects() -> None:
        with suppress(BucketOutage):
            await ports.objects.check(settings.default_bucket)

    return {
        "broker": ports.outbox.check,
        "catalog": ports.catalog.check,
        "objects": objects,
        "vectors": ports.vectors.check,
    }


def bucket_checks(ports: Ports, settings: ObjectSettings) -> dict[str, Check]:
    """The check of each bucket, by the name under which its outages are known."""
    return {f"{BUCKET}{bucket}": partial(ports.objects.check, bucket) for bucket in settings.buckets}
