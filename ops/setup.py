"""Make everything that the processes expect to be there. Safe to repeat, and by several at once."""

from __future__ import annotations

import structlog

from imaging.model_spec import load_spec
from schemas.settings import Settings
from stores.broker.topics import ensure_topics
from stores.catalog.migrate import upgrade
from stores.objects.opening import open_objects
from stores.vectors.milvus import MilvusVectors
from streams.patience import Outages, Patience

log = structlog.get_logger(__name__)


async def run_setup(settings: Settings) -> None:
    """Topics, tables, collection, buckets: each waits for its server. Raises Outage, ConfigurationError."""
    patience = Patience(settings.retry, Outages())
    kafka = settings.kafka
    created = await patience.run(lambda: ensure_topics(kafka))
    log.info("topics_ready", created=created)
    await patience.run(lambda: upgrade(settings.database.url.get_secret_value()))
    log.info("tables_ready")
    spec = load_spec(settings.model.spec)
    vectors = MilvusVectors(settings.vectors)
    try:
        await patience.run(lambda: vectors.ensure_collection(model_name=spec.name, dimension=spec.dimension))
    finally:
        await vectors.close()
    log.info("collection_ready", alias=settings.vectors.alias, model=spec.name)
    objects = open_objects(settings.objects)
    try:
        for bucket in settings.objects.buckets:
            await patience.run(lambda bucket=bucket: objects.ensure_bucket(bucket))  # type: ignore[misc]
    finally:
        await objects.close()
    log.info("buckets_ready", buckets=list(settings.objects.buckets))
