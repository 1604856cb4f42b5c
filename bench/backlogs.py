"""Backlogs in which nothing has to be embedded: the same bytes again, the same events again, deleted objects."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from minio import Minio
from pymilvus import MilvusClient

from bench import objects
from bench.backlog import Drain, drain, per_piece, unattended
from bench.bench import STOCK, Bench
from bench.figures import Figure, Result
from bench.installation import INGEST
from bench.running import Place, wait
from schemas.topics import Topics

type Event = tuple[bytes | None, bytes]
"""The key and value of a message about an object."""

_TAKEN = "twinlens_events_total"
_FETCHED_BYTES = 16 * 1024 * 1024
_READ_AT_MOST = 400


def duplicates(bench: Bench) -> Result:
    """The same bytes under new keys. Ceiling: a plain client that reads the objects and takes their digests."""
    installation, running = bench.installation, bench.installation.running
    bench.fill_stock(bench.scale.pictures)
    keys = [f"duplicates/{number:06}" for number in range(bench.scale.duplicates)]
    bench.say(f"putting {len(keys)} duplicates while no ingest worker runs")
    already = running.catalog.images()

    def data(position: int) -> bytes:
        return bench.photographs.salted(STOCK, position % len(bench.stock))

    with unattended(installation, len(keys)):
        objects.put(running.s3, running.place.bucket, keys, data)
    ceiling = _reads_a_second(running.s3, running.place.bucket, keys[:_READ_AT_MOST])
    found = drain(installation, lambda: running.catalog.images() - already, len(keys))
    bench.copies += keys
    return _result("duplicates", found, ceiling, "duplicate")


def announcements(bench: Bench) -> Result:
    """The store's own messages about known objects, once more. Ceiling: a plain consumer that parses them."""
    installation, running = bench.installation, bench.installation.running
    bench.fill_stock(bench.scale.pictures)
    installation.stop(INGEST)
    # As many as there are, since a worker looks only once at an object that comes twice in a batch.
    known = {f"{running.place.bucket}/{key}".encode() for key in (*bench.stock, *bench.spare, *bench.copies)}
    latest = {key: value for key, value in asyncio.run(_events(running.place)) if key in known}
    rounds = math.ceil(bench.scale.announcements / len(latest))
    again = list(itertools.chain.from_iterable([latest.items()] * rounds))[: bench.scale.announcements]
    bench.say(f"announcing {len(latest)} known objects, {len(again)} announcements in all, while no ingest worker runs")
    ceiling = asyncio.run(_announce(running.place, again))
    # A worker counts from its start on.
    found = drain(installation, _events_taken(installation.worker_url(INGEST)), len(again))
    return _result("announcements", found, ceiling, "announcement")


def deletes(bench: Bench) -> Result:
    """Deleted objects, until neither rows nor contents nor vectors are left. Ceiling: the object store's deleting."""
    installation, running = bench.installation, bench.installation.running
    bench.fill_spare(bench.scale.pictures)
    keys, bench.spare = bench.spare, []
    bench.say(f"deleting {len(keys)} objects while no ingest worker runs")
    contents, images, vectors = running.catalog.contents(), running.catalog.images(), _vectors(running.place)
    with unattended(installation, len(keys)):
        ceiling = len(keys) / objects.delete(running.s3, running.place.bucket, keys)
    found = drain(installation, lambda: contents - running.catalog.contents(), len(keys))
    wait(lambda: running.catalog.images() == images - len(keys), "the images are gone")
    wait(lambda: _vectors(running.place) == vectors - len(keys), "the vectors are gone")
    return _result("deletes", found, ceiling, "delete")


def _result(name: str, found: Drain, ceiling: float, piece: str) -> Result:
    figures = [
        Figure("backlog", found.per_second, f"{piece}s/s", ceiling),
        Figure("backlog_idle", found.spent_in_backlog.idle, "of the cores"),
        *per_piece(found, piece),
    ]
    return Result(name, figures, found.series)


def _reads_a_second(s3: Minio, bucket: str, keys: Sequence[str]) -> float:
    def read(key: str) -> str:
        response = s3.get_object(bucket, key)
        try:
            return hashlib.sha256(response.read()).hexdigest()
        finally:
            response.close()
            response.release_conn()

    began = time.perf_counter()
    with ThreadPoolExecutor(objects.THREADS) as pool:
        list(pool.map(read, keys))
    return len(keys) / (time.perf_counter() - began)


async def _events(place: Place) -> list[Event]:
    """All events of the topic, in order per object."""
    async with _consumer(place) as consumer:
        return [(message.key, message.value) async for message in _from(consumer, {})]


async def _announce(place: Place, events: Sequence[Event]) -> float:
    """Send the events, and read them as plainly as can be; returns how many a second were read and parsed."""
    async with _consumer(place) as consumer, AIOKafkaProducer(bootstrap_servers=place.kafka, linger_ms=5) as producer:
        before = await consumer.end_offsets(consumer.assignment())
        topic = Topics(place.topic_prefix).bucket_events
        for sent in [await producer.send(topic, value, key=key) for key, value in events]:
            await sent
    async with _consumer(place) as consumer:
        began, read = time.perf_counter(), 0
        async for message in _from(consumer, before):
            read += len(json.loads(message.value)["Records"])
        return read / (time.perf_counter() - began)


async def _from(consumer: AIOKafkaConsumer, starts: Mapping[TopicPartition, int]) -> AsyncIterator[Any]:
    """The messages from these offsets (or the topic's beginning) up to what is there now."""
    ends = await consumer.end_offsets(consumer.assignment())
    for partition in ends:
        consumer.seek(partition, starts.get(partition, 0))
    while any([await consumer.position(partition) < end for partition, end in ends.items()]):
        for messages in (await consumer.getmany(timeout_ms=1000)).values():
            for message in messages:
                yield message


def _consumer(place: Place) -> AIOKafkaConsumer:
    topic = Topics(place.topic_prefix).bucket_events
    return AIOKafkaConsumer(topic, bootstrap_servers=place.kafka, fetch_max_bytes=_FETCHED_BYTES, fetch_max_wait_ms=20)


def _events_taken(worker_url: str) -> Callable[[], int]:
    client = httpx.Client(base_url=worker_url, timeout=10)

    def taken() -> int:
        lines = client.get("/metrics").text.splitlines()
        return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{_TAKEN}{{")))

    return taken


def _vectors(place: Place) -> int:
    client = MilvusClient(place.milvus)
    try:
        [row] = client.query(place.alias, filter="", output_fields=["count(*)"], consistency_level="Strong")
        return int(row["count(*)"])
    finally:
        client.close()
