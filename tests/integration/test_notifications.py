"""What the two notification targets of a real MinIO say about a change."""

from __future__ import annotations

import io
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from minio import Minio
from minio.commonconfig import REPLACE, CopySource

from schemas.messages import ObjectHint, parse_bucket_event
from stores.objects.s3 import S3Objects
from tests.harness.object_stores import s3_settings
from tests.harness.stack.cleanup import in_own_loop, s3_client
from tests.harness.stack.minio import MAIN_ROUTE
from tests.harness.stack.stack import Stack
from tests.integration.topics import create_topic

MEBIBYTE = 2**20
TOPIC = f"{MAIN_ROUTE.topic_prefix}bucket-events"


@dataclass
class Announced:
    """A bucket whose changes both targets announce, and a reader of their topic."""

    client: Minio
    bucket: str
    consumer: AIOKafkaConsumer

    def put(self, key: str, data: bytes) -> str:
        """Store an object, in parts of 5 MiB if it is larger than one; its ETag."""
        return self.client.put_object(self.bucket, key, io.BytesIO(data), len(data), part_size=5 * MEBIBYTE).etag or ""

    async def changes(self, *counts: tuple[str, int]) -> dict[str, list[ObjectHint]]:
        """What was announced by key: the hints about each change, by time.

        Waits until each key has its number of changes, and each of those was announced by both targets, which say
        the same of it.
        """
        found: dict[str, dict[str, list[ObjectHint]]] = {key: defaultdict(list) for key, _ in counts}
        deadline = time.monotonic() + 60
        while not all(len(found[key]) == count and _all_told_twice(found[key]) for key, count in counts):
            assert time.monotonic() < deadline, f"of {counts} there are {found}"
            for messages in (await self.consumer.getmany(timeout_ms=500)).values():
                for hint in (hint for message in messages for hint in parse_bucket_event(message.value)):
                    if hint.ref.bucket == self.bucket:
                        assert hint.sequencer is not None
                        found[hint.ref.key][hint.sequencer].append(hint)
        for hint, *others in (hints for changes in found.values() for hints in changes.values()):
            assert set(others) == {hint}
        return {key: [found[key][sequencer][0] for sequencer in sorted(found[key])] for key, _ in counts}


def _all_told_twice(changes: dict[str, list[ObjectHint]]) -> bool:
    return all(len(hints) >= 2 for hints in changes.values())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka and MinIO of this module's own: MinIO's quick target loses events about a topic that was made anew."""
    stack = Stack(tmp_path_factory.mktemp("stack"), short_lived=True)
    try:
        stack.start("kafka", "minio")
        in_own_loop(create_topic(stack.addresses.kafka, TOPIC))
        yield stack
    finally:
        stack.stop()


@pytest_asyncio.fixture
async def announced(stack: Stack, unique_name: str) -> AsyncIterator[Announced]:
    """A bucket of this test's own with both notification targets, as `twinlens setup` gives it them."""
    store = S3Objects(s3_settings(stack.addresses, arns=MAIN_ROUTE.arns))
    await store.ensure_bucket(unique_name)
    await store.close()
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=stack.addresses.kafka, auto_offset_reset="earliest")
    await consumer.start()
    yield Announced(s3_client(stack.addresses), unique_name, consumer)
    await consumer.stop()


async def test_both_targets_announce_a_change_with_the_same_sequencer(announced: Announced) -> None:
    """Two PUTs of the same bytes are two changes, each announced twice in the same words."""
    etag = announced.put("a.png", b"bytes")
    assert announced.put("a.png", b"bytes") == etag
    found = await announced.changes(("a.png", 2))
    assert [(hint.etag, hint.size, hint.removed) for hint in found["a.png"]] == [(etag, 5, False)] * 2


async def test_the_sequencer_of_a_version_is_the_time_that_it_was_stored(announced: Announced) -> None:
    """In nanoseconds since 1970, so that it names the version: its seconds are the Last-Modified that a HEAD tells."""
    announced.put("a.png", b"bytes")
    told = announced.client.stat_object(announced.bucket, "a.png").last_modified
    [hint] = (await announced.changes(("a.png", 1)))["a.png"]
    assert told is not None
    assert hint.sequencer is not None
    assert int(hint.sequencer, 16) // 10**9 == int(told.timestamp())


async def test_a_removal_has_a_sequencer_but_neither_etag_nor_size(announced: Announced) -> None:
    """It sorts between those of the PUTs around it; a removal of what was not there is announced like any other."""
    announced.put("a.png", b"bytes")
    announced.client.remove_object(announced.bucket, "a.png")
    announced.put("a.png", b"bytes")
    announced.client.remove_object(announced.bucket, "never.png")
    found = await announced.changes(("a.png", 3), ("never.png", 1))
    assert [hint.removed for hint in found["a.png"]] == [False, True, False]
    for hint in (found["a.png"][1], found["never.png"][0]):
        assert (hint.etag, hint.size, hint.removed) == (None, None, True)


async def test_copies_and_uploads_in_parts_are_changes_like_any_other(announced: Announced) -> None:
    """An upload in parts is announced once it is whole; a copy onto itself under a sequencer of its own."""
    large = announced.put("large.png", bytes(11 * MEBIBYTE))
    etag = announced.put("a.png", b"bytes")
    announced.client.copy_object(
        announced.bucket,
        "a.png",
        CopySource(announced.bucket, "a.png"),
        metadata={"external-id": "1"},
        metadata_directive=REPLACE,
    )
    found = await announced.changes(("large.png", 1), ("a.png", 2))
    [whole] = found["large.png"]
    assert (whole.etag, whole.size) == (large, 11 * MEBIBYTE)
    assert large.endswith("-3")
    assert [(hint.etag, hint.size) for hint in found["a.png"]] == [(etag, 5)] * 2


async def test_an_empty_object_is_announced_without_its_size(announced: Announced) -> None:
    """MinIO leaves a size of 0 out, so that a missing size says nothing."""
    etag = announced.put("empty.png", b"")
    [hint] = (await announced.changes(("empty.png", 1)))["empty.png"]
    assert (hint.etag, hint.size) == (etag, None)
