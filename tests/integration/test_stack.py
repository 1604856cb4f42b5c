"""The servers that the other tests stand on."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from minio import Minio
from minio.notificationconfig import NotificationConfig, QueueConfig
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness.stack.cleanup import s3_client
from tests.harness.stack.minio import MAIN_ROUTE, EventRoute
from tests.harness.stack.process import Command, ServerError, ServerProcess
from tests.harness.stack.stack import Stack
from tests.integration.topics import create_topic


async def keys_of(bootstrap: str, topic: str, bucket: str, count: int, seconds: float = 60) -> set[str]:
    """The keys of a topic's messages about a bucket, read from its start until `count` different ones are there.

    What another bucket left in the target's folder may come as well, if an earlier test had the route.
    """
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    keys: set[str] = set()
    deadline = time.monotonic() + seconds
    try:
        while len(keys) < count and time.monotonic() < deadline:
            for messages in (await consumer.getmany(timeout_ms=500)).values():
                told = {message.key.decode() for message in messages}
                keys |= {key for key in told if key.startswith(f"{bucket}/")}
    finally:
        await consumer.stop()
    return keys


def announce(s3: Minio, bucket: str, route: EventRoute) -> None:
    """Give the bucket a notification rule for new objects."""
    rule = QueueConfig(["s3:ObjectCreated:*"], config_id="test", queue=route.durable_arn)
    s3.set_bucket_notification(bucket, NotificationConfig(queue_config_list=[rule]))


def put(s3: Minio, bucket: str, *names: str) -> set[str]:
    """Put a small object under each name; the keys of their events."""
    for name in names:
        s3.put_object(bucket, name, io.BytesIO(b"bytes"), 5)
    return {f"{bucket}/{name}" for name in names}


async def test_a_bucket_announces_to_the_route_of_its_test(
    s3: Minio, bucket: str, kafka: str, event_route: EventRoute
) -> None:
    """Each test can have a notification target and a topic of its own."""
    topic = f"{event_route.topic_prefix}bucket-events"
    await create_topic(kafka, topic)
    announce(s3, bucket, event_route)
    expected = put(s3, bucket, "one", "folder/two ü.jpg")
    assert await keys_of(kafka, topic, bucket, len(expected)) == expected


async def test_nothing_is_lost_when_the_servers_are_killed(private_stack: Stack) -> None:
    """Objects put while Kafka is down, before and after MinIO was killed, are announced when Kafka is back."""
    addresses = private_stack.addresses
    s3 = s3_client(addresses)
    s3.make_bucket("pictures")
    await create_topic(addresses.kafka, "twinlens.bucket-events")
    announce(s3, "pictures", MAIN_ROUTE)
    expected = put(s3, "pictures", "before")
    private_stack.kill("kafka")
    expected |= put(s3, "pictures", "kafka-down-1", "kafka-down-2")
    private_stack.kill("minio")
    private_stack.start("minio")
    expected |= put(s3, "pictures", "minio-restarted")
    private_stack.start("kafka")
    assert await keys_of(addresses.kafka, "twinlens.bucket-events", "pictures", len(expected)) == expected


async def test_a_killed_database_keeps_what_was_committed(private_stack: Stack) -> None:
    """A server that is started again has its port and its data."""
    engine = create_async_engine(f"{private_stack.addresses.database}/")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE DATABASE kept"))
        await connection.execute(text("CREATE TABLE kept.numbers (number INT)"))
        await connection.execute(text("INSERT INTO kept.numbers VALUES (7)"))
    await engine.dispose()
    private_stack.kill("mariadb")
    private_stack.start("mariadb")
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT number FROM kept.numbers")) == 7
    await engine.dispose()


def test_a_server_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    """Waiting for a server that can't start ends with the reason, not with the deadline."""
    command = Command([sys.executable, "-c", "print('no such option'); raise SystemExit(3)"])
    server = ServerProcess("broken", command, log=tmp_path / "log", is_ready=lambda: False)
    with pytest.raises(ServerError, match=r"while starting, broken ended \(exit code 3\)[\s\S]*no such option"):
        server.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_servers_end_with_the_process_that_started_them(tmp_path: Path, number: signal.Signals) -> None:
    """However the owner of a stack dies, its servers and their children go with it."""
    program = """
import sys, time
from pathlib import Path
from tests.harness.stack.process import Command, ServerProcess
shell = "trap '' TERM; sleep 600 & echo $! >writing; mv writing child; wait"
server = ServerProcess("shell", Command(["sh", "-c", shell], folder=Path(sys.argv[1])),
                       log=Path(sys.argv[1]) / "log", is_ready=(Path(sys.argv[1]) / "child").exists)
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    ) as owner:
        try:
            assert owner.stdout is not None
            pids = [int(owner.stdout.readline()), int((tmp_path / "child").read_text(encoding="utf-8"))]
            owner.send_signal(number)
            owner.wait(20)
        finally:
            owner.kill()
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "a server outlived its owner"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
