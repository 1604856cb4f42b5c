"""The servers of the embedded stack as programs: Tansu, Milvus Lite and, where there is one, MinIO."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx

from ops.embedded import programs
from ops.embedded.folder import DataFolder
from ops.embedded.ports import HOST
from ops.embedded.process import Probe, Program

NOTIFICATION_TARGETS: Final = ("PRIMARY", "QUICK")
"""The first has the queue on disk, which loses nothing and is looked into every 3 s; the second does not wait."""
SETTLE_S: Final = 1.0
"""From MinIO's readiness to the first PUT. It loads the buckets' rules shortly after it reports itself ready, and an
object put in between (0.2 s on two cores) is never announced."""


def tansu(folder: DataFolder, port: int) -> Program:
    """The Kafka-protocol broker. It keeps everything in memory: what it knew is gone when it ends."""
    url = f"tcp://{HOST}:{port}"
    return Program(
        "tansu",
        [
            programs.find_tansu(),
            "broker",
            "--listener-url", url,
            "--advertised-listener-url", url,
            "--storage-engine", "memory://tansu/",
        ],
        folder.logs / "tansu.log",
        accepts_connections(port),
    )  # fmt: skip


def milvus_lite(folder: DataFolder, port: int) -> Program:
    """The vector index. It locks its folder, so everybody shares this one server."""
    return Program(
        "milvus-lite",
        [
            programs.find_milvus_lite(),
            "server",
            "--data-dir",
            folder.path / "vectors",
            "--host",
            HOST,
            "--port",
            str(port),
        ],
        folder.logs / "milvus-lite.log",
        accepts_connections(port),
    )


def minio(folder: DataFolder, program: Path, *, port: int, console_port: int, kafka_port: int) -> Program:
    """The object store, which announces changes to Kafka at once, and once more through a queue on disk."""
    queue = folder.path / "event-queue"
    queue.mkdir(parents=True, exist_ok=True)
    access_key, secret_key = folder.credentials()
    environment = {
        "MINIO_ROOT_USER": access_key,
        "MINIO_ROOT_PASSWORD": secret_key,
        # A PUT is acknowledged only after its event is in the queue.
        "MINIO_API_SYNC_EVENTS": "on",
        "MINIO_UPDATE": "off",
        "MINIO_NOTIFY_KAFKA_QUEUE_DIR_PRIMARY": str(queue),
        "GOMEMLIMIT": "512MiB",
    }
    for target in NOTIFICATION_TARGETS:
        environment |= {
            f"MINIO_NOTIFY_KAFKA_ENABLE_{target}": "on",
            f"MINIO_NOTIFY_KAFKA_BROKERS_{target}": f"{HOST}:{kafka_port}",
            f"MINIO_NOTIFY_KAFKA_TOPIC_{target}": "twinlens.bucket-events",
        }
    addresses = ["--address", f"{HOST}:{port}", "--console-address", f"{HOST}:{console_port}"]
    return Program(
        "minio",
        [program, "server", "--quiet", *addresses, folder.minio],
        folder.logs / "minio.log",
        _settled(answers_ok(f"http://{HOST}:{port}/minio/health/ready"), SETTLE_S),
        environment,
    )


def accepts_connections(port: int) -> Probe:
    """Ready when something listens on the port."""

    async def probe() -> bool:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                _, writer = await asyncio.open_connection(HOST, port)
            writer.close()
            return True
        return False

    return probe


def answers_ok(url: str) -> Probe:
    """Ready when GET ``url`` answers 200."""

    async def probe() -> bool:
        with suppress(httpx.TransportError):
            async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
                return (await client.get(url)).status_code == httpx.codes.OK
        return False

    return probe


def _settled(ready: Probe, seconds: float) -> Probe:
    """Ready once ``ready`` has held for a while."""
    since: float | None = None

    async def probe() -> bool:
        nonlocal since
        now = asyncio.get_running_loop().time()
        if not await ready():
            since = None
            return False
        since = since or now
        return now - since >= seconds

    return probe
