"""Apache Kafka: one node, broker and controller in one (KRaft)."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.harness.stack.install import java_program, kafka_libs
from tests.harness.stack.process import Command, ServerError, ServerProcess, free_port, port_answers


class Link(NamedTuple):
    """A listener on `port` for clients that come by another address: it names them `advertised`."""

    port: int
    advertised: int


LARGEST_MESSAGE = 17 * 1024 * 1024
"""Room for a request with a 16 MiB value, its key, headers and framing."""

_MEMORY = ("-Xms256m", "-Xmx512m")
_CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"  # Any 16 bytes in base64; StorageTool wants the same one at each start.


def kafka_server(
    folder: Path,
    logs: Path,
    port: int,
    *,
    secured: Mapping[str, int] | None = None,
    link: Link | None = None,
    more: Mapping[str, object] | None = None,
    short_lived: bool = False,
) -> ServerProcess:
    """A broker on 127.0.0.1:`port` with its data in `folder`, which is formatted here if it is new.

    `secured`: further listeners, their ports by security protocol (SSL, SASL_PLAINTEXT, SASL_SSL), which need `more`
    settings. `port` itself is always PLAINTEXT. `short_lived`: Java compiles quickly instead of well, which spares a
    third of a start's CPU and costs throughput.
    """
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    if not properties.exists():
        settings = {**_settings(folder, {"PLAINTEXT": port, **(secured or {})}, free_port(), link), **(more or {})}
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        (folder / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")
        _format(folder, properties)
    options = [*_MEMORY, "-XX:TieredStopAtLevel=1"] if short_lived else _MEMORY
    return ServerProcess(
        "kafka",
        Command([*_java(folder, *options), "kafka.Kafka", str(properties)]),
        log=logs / "kafka.log",
        # aiokafka logs an error for each refused connection, so it isn't asked before the port is open.
        is_ready=lambda: port_answers(port) and asyncio.run(_has_broker(f"127.0.0.1:{port}")),
    )


def _settings(folder: Path, clients: Mapping[str, int], controller_port: int, link: Link | None) -> dict[str, object]:
    listening = {**clients, _LINK: link.port} if link else clients
    advertised = {**clients, _LINK: link.advertised} if link else clients
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": _addresses({**listening, "CONTROLLER": controller_port}),
        "advertised.listeners": _addresses(advertised),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in _PROTOCOLS.items()),
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": folder / "data",
        # Topics come from `twinlens setup` alone: a typing error must not make one.
        "auto.create.topics.enable": "false",
        "num.partitions": 2,
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 2,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # After a kill -9 the restarted broker waits until its former session is over (9 s by default).
        "broker.session.timeout.ms": 5000,
        "broker.heartbeat.interval.ms": 1000,
        # A group of a single consumer starts at once instead of waiting for others.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "message.max.bytes": LARGEST_MESSAGE,
        "replica.fetch.max.bytes": LARGEST_MESSAGE,
        "num.network.threads": 2,
        "num.io.threads": 4,
        # The cleaner's default buffer (128 MiB) would be a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "log.cleaner.backoff.ms": 1000,
        "log.segment.delete.delay.ms": 1000,
        "log.retention.check.interval.ms": 5000,
    }


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


_LINK = "LINK"
_PROTOCOLS = {
    "CONTROLLER": "PLAINTEXT",
    _LINK: "PLAINTEXT",
    **{protocol: protocol for protocol in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")},
}
"""The security protocol of each listener."""

_LOGGING = """rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c: %m%n
"""


def _java(folder: Path, *options: str) -> list[str]:
    logging = f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"
    return [str(java_program()), *options, "-XX:+UseSerialGC", logging, "-cp", f"{kafka_libs()}/*"]


def _format(folder: Path, properties: Path) -> None:
    command = [*_java(folder, "-Xmx128m", "-XX:TieredStopAtLevel=1"), "kafka.tools.StorageTool", "format"]
    done = subprocess.run(
        [*command, "--ignore-formatted", "-t", _CLUSTER_ID, "-c", str(properties)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode != 0:
        properties.unlink()
        raise ServerError(f"Kafka's storage can't be formatted:\n{done.stdout}{done.stderr}")


async def _has_broker(bootstrap: str) -> bool:
    """Whether a broker registered itself (it isn't listed before that, nor while it is fenced)."""
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=3000)
    try:
        await client.start()
        cluster = await client.describe_cluster()
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await client.close()
    return bool(cluster["brokers"])
