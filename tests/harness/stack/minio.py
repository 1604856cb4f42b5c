"""MinIO with its bucket notifications going to Kafka."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from tests.harness.stack.health import answers_ok
from tests.harness.stack.install import minio_program
from tests.harness.stack.process import Command, ServerProcess


@dataclass(frozen=True)
class EventRoute:
    """Two notification targets of the MinIO server: buckets that name them announce to `<topic_prefix>bucket-events`.

    The durable one keeps events in a folder, which MinIO looks into every 3 s, until Kafka has them. The quick one
    hands them to Kafka at once, and loses them while Kafka is away.
    """

    topic_prefix: str
    durable: str
    quick: str

    @property
    def durable_arn(self) -> str:
        """The ARN of the target that loses nothing."""
        return f"arn:minio:sqs::{self.durable}:kafka"

    @property
    def arns(self) -> tuple[str, str]:
        """Both ARNs."""
        return self.durable_arn, f"arn:minio:sqs::{self.quick}:kafka"


MAIN_ROUTE = EventRoute("twinlens.", "PRIMARY", "QUICK")
TEST_ROUTES = tuple(EventRoute(f"t{n:02}.", f"T{n:02}", f"T{n:02}QUICK") for n in range(1, 41))
"""Targets are fixed at MinIO's start, so there is a stock of them: a test claims one for its own topics.

On a private stack none is used twice, and the tests that have one take 25 between them, should one process run all.
"""


@dataclass(frozen=True)
class Credentials:
    """An S3 access key and its secret."""

    access_key: str
    secret_key: str


def new_credentials() -> Credentials:
    """Random ones; no server here ever runs with a known secret."""
    return Credentials("twinlens-admin", secrets.token_urlsafe(24))


def minio_server(folder: Path, logs: Path, port: int, credentials: Credentials, kafka: str) -> ServerProcess:
    """MinIO on 127.0.0.1:`port` with its objects in `folder`; `kafka` (host:port) need not be up at its start."""
    data, queue = folder / "data", folder / "event-queue"
    data.mkdir(parents=True, exist_ok=True)
    environment = {
        "MINIO_ROOT_USER": credentials.access_key,
        "MINIO_ROOT_PASSWORD": credentials.secret_key,
        # A PUT is acknowledged only after its event is in the queue folder: asynchronous events get lost by kill -9.
        "MINIO_API_SYNC_EVENTS": "on",
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "GOMEMLIMIT": "512MiB",
        **target_variables(kafka, queue),
    }
    program = minio_program()
    return ServerProcess(
        "minio",
        Command([str(program), "server", "--quiet", "--address", f"127.0.0.1:{port}", str(data)], environment),
        log=logs / "minio.log",
        is_ready=_Settled(f"http://127.0.0.1:{port}/minio/health/ready"),
    )


def target_variables(kafka: str, queue: Path) -> dict[str, str]:
    """MinIO's variables for all notification targets, the durable ones each with its own folder in `queue`."""
    variables: dict[str, str] = {}
    for route in (MAIN_ROUTE, *TEST_ROUTES):
        for name in (route.durable, route.quick):
            variables |= {
                f"MINIO_NOTIFY_KAFKA_ENABLE_{name}": "on",
                f"MINIO_NOTIFY_KAFKA_BROKERS_{name}": kafka,
                f"MINIO_NOTIFY_KAFKA_TOPIC_{name}": f"{route.topic_prefix}bucket-events",
            }
        variables[f"MINIO_NOTIFY_KAFKA_QUEUE_DIR_{route.durable}"] = str(queue / route.durable)
    return variables


class _Settled:
    """Ready once the health address has answered for a second.

    MinIO loads the buckets' notification rules shortly *after* it reports itself ready: an object put in that moment
    (some 0.2 s on two cores) is stored and acknowledged, but never announced. Nothing tells when it is over.
    """

    def __init__(self, url: str, seconds: float = 1.0) -> None:
        self._url = url
        self._seconds = seconds
        self._since: float | None = None

    def __call__(self) -> bool:
        if not answers_ok(self._url):
            self._since = None
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since >= self._seconds
