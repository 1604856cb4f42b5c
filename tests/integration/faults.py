"""What the fault tests do to an installation."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest
from pydantic import SecretStr

from schemas.messages import bucket_event, encode_key
from schemas.records import ObjectRef
from schemas.settings import DatabaseSettings
from stores.catalog.engine import create_engine
from stores.catalog.sql import SqlCatalog
from streams.common.checkpoints import Step
from streams.repair.comparison_requests import LAST
from streams.repair.schedule import WATCHED
from tests.harness.live import QUICK, Live
from tests.harness.pictures import picture
from tests.harness.reading import read_topic
from tests.harness.stack.cleanup import in_own_loop, run_sql
from tests.harness.stack.minio import TEST_ROUTES
from tests.harness.stack.settings import twinlens_environment
from tests.harness.stack.stack import Stack
from tests.integration.planted_worker import crash_at, with_planted

REQUEST_STEPS = (Step.REQUEST_TAKEN_UP, Step.REQUEST_PUT, Step.REQUEST_CONCLUDED, Step.OUTCOME_SENT)
"""In the order in which a request comes to them: killed at one, it goes on to the next."""

_routes = iter(TEST_ROUTES)


@contextmanager
def installed(
    stack: Stack, logs: Path, more: Mapping[str, str] | None = None, *, announced_once: bool = False
) -> Iterator[Live]:
    """A new installation on the stack, set up and not started, whose very first comparison is taken as done.

    ``announced_once``: only by the durable target, so that an event which is lost is not made up for by its twin.
    """
    stack.start()
    route = next(_routes)
    name = f"t{secrets.token_hex(4)}"
    in_own_loop(run_sql(stack.addresses.database, f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    environment = twinlens_environment(
        stack.addresses,
        bucket=name,
        database_url=stack.addresses.database_url(name),
        route=route,
        alias=name,
        more={**QUICK, **(more or {})},
    )
    if announced_once:
        environment["TWINLENS_OBJECTS__NOTIFICATION_ARNS"] = json.dumps([route.durable_arn])
    live = Live(stack.addresses, environment, logs)
    live.application.setup()
    asyncio.run(_compared_already(environment["TWINLENS_DATABASE__URL"], name))
    try:
        yield live
    finally:
        live.stop()


async def _compared_already(database_url: str, bucket: str) -> None:
    catalog = SqlCatalog(create_engine(DatabaseSettings(url=SecretStr(database_url))))
    now = datetime.now(UTC)
    try:
        await catalog.save_progress(WATCHED, {"at": now.isoformat(), "buckets": [bucket]}, now)
        last = {"started": now.isoformat(), "finished": now.isoformat(), "reason": "test"}
        await catalog.save_progress(LAST, last, now)
    finally:
        await catalog.close()


def crashing(live: Live, step: Step, count: int = 1) -> Live:
    """The same installation's processes, which end themselves when they reach the step."""
    return live.with_program(with_planted(crash_at(step, count)))


def hint(live: Live, keys: list[str]) -> None:
    """Send bucket events about these keys, as a replay from another year would."""

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=live.place.kafka, acks="all")
        await producer.start()
        try:
            for key in keys:
                ref = ObjectRef(live.bucket, key)
                event = bucket_event(ref, event_name="s3:ObjectRemoved:Delete", event_time=datetime.now(UTC))
                topic = f"{live.place.topic_prefix}bucket-events"
                await producer.send_and_wait(topic, event, key=encode_key(ref))
        finally:
            await producer.stop()

    asyncio.run(send())


def sent(live: Live, topic: str) -> list[bytes | None]:
    """The values of all messages of a topic."""
    return [value for _, value in asyncio.run(read_topic(live.place, topic))]


def committed(live: Live, role: str) -> int:
    """How many messages the role's group has acknowledged, as the broker knows it."""

    async def ask() -> int:
        client = AIOKafkaAdminClient(bootstrap_servers=live.place.kafka)
        await client.start()
        try:
            offsets = await client.list_consumer_group_offsets(f"{live.place.topic_prefix}{role}")
            return sum(max(0, found.offset) for found in offsets.values())
        except KafkaError:
            # The group has no coordinator before its first member comes.
            return 0
        finally:
            await client.close()

    return asyncio.run(ask())


def expel_dead(live: Live, role: str) -> None:
    """Have the broker take its leave of the role's members, who are dead, now and not when their sessions are over.

    Only then a successor gets their partitions: seconds that who kills one worker after the other needn't wait.
    """

    async def tell() -> None:
        group = f"{live.place.topic_prefix}{role}"
        client = AIOKafkaAdminClient(bootstrap_servers=live.place.kafka)
        await client.start()
        try:
            coordinator = await client.find_coordinator(group)
            [described] = await client.describe_consumer_groups([group], coordinator)
            for member_id in (member[0] for found in described.groups for member in found[5]):
                await client._send_request(LeaveGroupRequest(group, member_id), coordinator)
        finally:
            await client.close()

    asyncio.run(tell())


class Streaming:
    """Puts, overwrites and deletes objects in a thread until the block ends; each is tried until it is acknowledged."""

    def __init__(self, live: Live, *, per_second: float = 8) -> None:
        self._live = live
        self._pause = 1 / per_second
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.operations = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._pause):
            number = self.operations
            if number % 7 == 6:
                self._live.delete(f"s{number - 5:04}.png")
            elif number % 5 == 4:
                self._live.put(f"s{max(0, number - 3):04}.png", picture(number % 40))
            else:
                self._live.put(f"s{number:04}.png", picture(number % 40))
            self.operations += 1


def change_a_little(live: Live, round_number: int) -> None:
    """New pictures, a duplicate, one put again as it is, an overwrite, a delete and something that is no picture."""
    base = 1000 * (round_number + 1)
    live.put(f"r{round_number:02}-a.png", picture(base))
    live.put(f"r{round_number:02}-b.png", picture(base + 1))
    live.put(f"r{round_number:02}-copy.png", picture(base))
    live.put(f"r{round_number:02}-broken.png", broken(round_number))
    if round_number > 0:
        live.put(f"r{round_number - 1:02}-copy.png", picture(base - 1000))
        live.put(f"r{round_number - 1:02}-a.png", picture(base + 2))
        live.delete(f"r{round_number - 1:02}-b.png")
        live.delete(f"r{round_number - 1:02}-broken.png")


def broken(number: int) -> bytes:
    """Bytes that are no picture, other ones for each number."""
    return f"this is no picture but a text, number {number}".encode()


def wait_for(seconds: float) -> None:
    """Let an outage last: the one thing that only time can do."""
    time.sleep(seconds)


def downs(live: Live, role: str) -> list[str]:
    """Which dependencies a worker's log calls down, one entry per line."""
    return [str(line["dependency"]) for line in live.log_events(role) if line.get("event") == "dependency_down"]


def as_text(found: object) -> str:
    """For a failing test's message."""
    return json.dumps(found, indent=1, default=str)
