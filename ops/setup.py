"""Make everything that the processes expect to be there. Safe to repeat, and by several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import structlog

from imaging.model_spec import load_spec
from ops.grants import make_users, share_milvus_privileges
from ops.privileges import StoreServer
from schemas.collection import view_collections
from schemas.settings import Settings
from stores.broker.topics import ensure_topics
from stores.catalog.engine import create_engine
from stores.catalog.migrate import upgrade
from stores.catalog.sql import SqlCatalog
from stores.objects.opening import open_objects
from stores.vectors.milvus import MilvusVectors
from stores.vectors.views import LOOK_EVERY_S, VectorsWithViews
from streams.common.backoff import OutageRetry, Outages

log = structlog.get_logger(__name__)


class SetUp(NamedTuple):
    """What there is now: the topics that were not there before, the model in use, the buckets, users by server."""

    topics_made: list[str]
    model: str
    buckets: list[str]
    users: dict[str, list[str]]


async def run_setup(settings: Settings, users: Collection[StoreServer] = (), passwords: Path = Path()) -> SetUp:
    """Topics, tables, collection, buckets: each waits for its server; then the users, on the servers that are said.

    ``passwords``: see ``make_users``. Raises Outage, ConfigurationError, OSError.
    """
    retry = OutageRetry(settings.retry, Outages())
    kafka = settings.kafka
    created = await retry.run(lambda: ensure_topics(kafka))
    log.info("topics_ready", created=created)
    await retry.run(lambda: upgrade(settings.database.url.get_secret_value()))
    log.info("tables_ready")
    model = await _ensure_collection(settings, retry)
    objects = open_objects(settings.objects)
    try:
        for bucket in settings.objects.buckets:
            await retry.run(lambda bucket=bucket: objects.ensure_bucket(bucket))  # type: ignore[misc]
    finally:
        await objects.close()
    buckets = list(settings.objects.buckets)
    log.info("buckets_ready", buckets=buckets)
    made = await make_users(settings, users, passwords)
    log.info("users_ready", users=made)
    return SetUp(created, model, buckets, made)


async def _ensure_collection(settings: Settings, retry: OutageRetry) -> str:
    """Make the collection of the model that the settings name; while a switch of models is on, all is there.

    The name of the model in use.
    """
    catalog = SqlCatalog(create_engine(settings.database))
    try:
        switch = await retry.run(catalog.switch)
    finally:
        await catalog.close()
    if switch.in_use is not None:
        log.info("collection_ready", alias=settings.vectors.alias, model=switch.in_use.name, switch=str(switch.state))
        return switch.in_use.name
    spec = load_spec(settings.model.spec)
    milvus = MilvusVectors(settings.vectors)
    vectors = VectorsWithViews(milvus, settings.index.views)
    try:
        before = await retry.run(vectors.layout)
        await retry.run(lambda: vectors.ensure_collection(model_name=spec.name, dimension=spec.dimension))
        live = await retry.run(vectors.live)
        changes = before != settings.index.views and await retry.run(milvus.count) > 0
    finally:
        await milvus.close()
    for name in view_collections(live.name, settings.index.views):
        share_milvus_privileges(settings.vectors, live.name, name)
    if changes:
        # Whoever is told to look at a content from now on must know by then which views there are.
        log.info("views_changed", views=settings.index.views, workers_notice_within_s=LOOK_EVERY_S)
        await asyncio.sleep(LOOK_EVERY_S)
    log.info("collection_ready", alias=settings.vectors.alias, model=spec.name)
    return spec.name
