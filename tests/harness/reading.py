"""Reading bucket, SQL, Milvus and topics with none of Twinlens's own code."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from minio import Minio
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

MILVUS_WINDOW = 16_384
MILVUS_LOADS_SECONDS = 60.0
VIEWS = re.compile(r"_(quarters|ninths)_\d")
"""What follows the name of a collection in those of its views."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation keeps its things."""

    s3: Minio
    bucket: str
    database_url: str
    milvus: str
    alias: str
    kafka: str
    topic_prefix: str
    api: str | None = None
    clocks_wrong: bool = False
    """Whether the workers' clocks go back at times."""


@dataclass(frozen=True, slots=True)
class CatalogRows:
    """What SQL says."""

    images: Mapping[str, str | None]
    """SHA-256 by key, of the objects that are there."""
    states: Mapping[str, str]
    """State by SHA-256."""
    vector_ids: Mapping[int, str]
    """SHA-256 by vector id, of indexed contents."""
    unfinished: Collection[str]
    """What is still marked as to be done."""


def read_bucket(place: Place) -> dict[str, bytes]:
    """Every object's bytes by key."""
    found = {}
    for listed in place.s3.list_objects(place.bucket, recursive=True):
        response = place.s3.get_object(place.bucket, listed.object_name or "")
        try:
            found[listed.object_name or ""] = response.read()
        finally:
            response.close()
            response.release_conn()
    return found


async def read_catalog(place: Place) -> CatalogRows:
    """All rows of the bucket."""
    engine = create_async_engine(place.database_url)
    try:
        async with engine.connect() as connection:
            images = (
                await connection.execute(
                    text(
                        "SELECT object_key, content_sha256, etag, publish_due, version = published_version"
                        " FROM images WHERE bucket = :b"
                    ),
                    {"b": place.bucket},
                )
            ).all()
            contents = (
                await connection.execute(
                    text("SELECT sha256, state, vector_id, dirty_since FROM contents WHERE bucket = :b"),
                    {"b": place.bucket},
                )
            ).all()
    finally:
        await engine.dispose()
    # A removed image that was published waits for its tombstone.
    unfinished = [
        f"image {bytes(row[0]).decode()}" for row in images if row[3] is not None and (row[2] is not None or not row[4])
    ]
    unfinished += [f"content {row[0]} {row[1]}" for row in contents if row[3] is not None]
    return CatalogRows(
        images={bytes(row[0]).decode(): row[1] for row in images if row[2] is not None},
        states={row[0]: row[1] for row in contents},
        vector_ids={int(row[2]): row[0] for row in contents if row[1] == "indexed"},
        unfinished=unfinished,
    )


def read_view_ids(place: Place) -> dict[str, set[int]]:
    """Likewise of each collection of views, by its name; none where there are no views."""
    client = MilvusClient(place.milvus)
    try:
        live = client.describe_alias(place.alias)["collection_name"]
        names = [name for name in client.list_collections() if VIEWS.fullmatch(name.removeprefix(live))]
    finally:
        client.close()
    return {name: read_vector_ids(place, name) for name in names}


def read_vector_ids(place: Place, collection: str | None = None) -> set[int]:
    """The ids of all vectors of the bucket, in the live collection or in another one.

    Milvus needs some ten seconds after its start to load a collection.
    """
    deadline = time.monotonic() + MILVUS_LOADS_SECONDS
    while True:
        client = MilvusClient(place.milvus)
        try:
            rows = client.query(
                collection or place.alias,
                filter=f'bucket == "{place.bucket}"',
                output_fields=["id"],
                limit=MILVUS_WINDOW,
                consistency_level="Strong",
            )
        except MilvusException:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            assert len(rows) < MILVUS_WINDOW, "more vectors than one query gives"
            return {int(row["id"]) for row in rows}
        finally:
            client.close()


async def read_topic(place: Place, name: str) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values of all messages of a topic, in order per partition."""
    topic = place.topic_prefix + name
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=place.kafka, auto_offset_reset="earliest", max_partition_fetch_bytes=20_000_000
    )
    try:
        await consumer.start()
        partitions = consumer.assignment()
        assert partitions, f"the topic {topic} is not there"
        ends = await consumer.end_offsets(partitions)
        found: list[tuple[bytes | None, bytes | None]] = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for messages in (await consumer.getmany(timeout_ms=1000)).values():
                found += [(message.key, message.value) for message in messages]
        return found
    finally:
        await consumer.stop()
