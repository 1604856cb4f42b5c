"""Kafka with TLS and SASL: every client of Twinlens logs in as the settings say, and says clearly when it can't."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from schemas.settings import KafkaSettings
from stores.broker.kafka import connection_options
from tests.harness.certificates import Authority
from tests.harness.command_line import twinlens
from tests.harness.commands import undocumented
from tests.harness.pictures import picture
from tests.harness.stack.health import answers_ok
from tests.harness.stack.kafka import kafka_server
from tests.harness.stack.process import Command, ForkedProcess, ServerProcess, free_port
from tests.harness.stack.twinlens import AS_MODULE

USER, PASSWORD = "twinlens", "s3cret-of-the-test"
PROTOCOLS = ("SSL", "SASL_PLAINTEXT", "SASL_SSL")
TWINLENS = str(Path(sys.executable).with_name("twinlens"))
CONFIGURATION, ERROR = 78, 2


@dataclass(frozen=True)
class SecuredKafka:
    """A broker with a listener of each kind, and the files that its clients need."""

    ports: Mapping[str, int]
    ca: Path
    other_ca: Path
    client_certificate: Path
    client_key: Path

    def environment(self, protocol: str, **overrides: str) -> dict[str, str]:
        """The `TWINLENS_KAFKA__*` variables of a client that may come in."""
        settings = {"BOOTSTRAP_SERVERS": f"127.0.0.1:{self.ports[protocol]}", "SECURITY_PROTOCOL": protocol}
        if protocol.startswith("SASL"):
            settings |= {"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": USER, "SASL_PASSWORD": PASSWORD}
        if protocol.endswith("SSL"):
            settings |= {"SSL_CA_FILE": str(self.ca)}
        if protocol == "SSL":
            settings |= {"SSL_CERT_FILE": str(self.client_certificate), "SSL_KEY_FILE": str(self.client_key)}
        return {f"TWINLENS_KAFKA__{name}": value for name, value in (settings | overrides).items()}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A real broker of this module's own, with a CA made for it. The SSL listener asks for client certificates."""
    folder = tmp_path_factory.mktemp("secured")
    authority, stranger = Authority("Twinlens test CA"), Authority("somebody else")
    broker_certificate, broker_key = authority.issue(folder, "broker")
    client_certificate, client_key = authority.issue(folder, "client")
    keystore = folder / "keystore.pem"
    keystore.write_bytes(broker_key.read_bytes() + broker_certificate.read_bytes())
    ports = {protocol: free_port() for protocol in PROTOCOLS}
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    ca = authority.save(folder, "ca")
    more = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": keystore,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": ca,
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": login,
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": login,
    }
    server = kafka_server(folder / "kafka", folder / "logs", free_port(), secured=ports, more=more)
    try:
        server.start()
        yield SecuredKafka(ports, ca, stranger.save(folder, "stranger"), client_certificate, client_key)
    finally:
        server.stop()


@pytest.fixture
def installation(milvus: str, milvus_alias: str, unique_name: str, tmp_path: Path) -> dict[str, str]:
    """Everything of an installation but its Kafka: a folder of pictures and SQLite are enough here."""
    return {
        "TWINLENS_KAFKA__TOPIC_PREFIX": f"{unique_name}.",
        "TWINLENS_KAFKA__PARTITIONS": "2",
        "TWINLENS_KAFKA__SESSION_TIMEOUT_S": "6",
        "TWINLENS_OBJECTS__BACKEND": "folder",
        "TWINLENS_OBJECTS__FOLDER": str(tmp_path / "buckets"),
        "TWINLENS_DATABASE__URL": f"sqlite+aiosqlite:///{tmp_path / 'catalog.db'}",
        "TWINLENS_VECTORS__URI": milvus,
        "TWINLENS_VECTORS__ALIAS": milvus_alias,
        "COLUMNS": "300",
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_everything_logs_in_as_the_settings_say(
    secured: SecuredKafka, installation: dict[str, str], tmp_path: Path, protocol: str
) -> None:
    """Setup, the workers' consumers and outboxes, publish and watch."""
    environment = {**installation, **secured.environment(protocol)}
    done = twinlens("setup", "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    assert undocumented("setup", done.stdout) == set()
    file = tmp_path / "cat.png"
    file.write_bytes(picture(1))
    workers = [worker(role, environment, tmp_path) for role in ("ingest", "requests")]
    try:
        for process in workers:
            process.launch()
        for process in workers:
            process.wait_ready()
        published = twinlens("publish", str(file), environment=environment)
        assert published.returncode == 0, published.stderr + workers[1].log_end()
        assert "1 stored, 0 not" in published.stderr
        assert first_change(environment)["state"] == "pending"
    finally:
        for process in workers:
            process.stop()


def worker(role: str, environment: Mapping[str, str], logs: Path) -> ServerProcess:
    """A worker that is not started yet."""
    port = free_port()
    return ForkedProcess(
        role,
        Command([*AS_MODULE, "worker", role], {**environment, f"TWINLENS_{role.upper()}__HEALTH_PORT": str(port)}),
        log=logs / f"{role}.log",
        is_ready=lambda: answers_ok(f"http://127.0.0.1:{port}/readyz"),
    )


def first_change(environment: Mapping[str, str]) -> dict[str, str]:
    """The first line that `watch` prints, after a look was asked for."""
    watching = subprocess.Popen(
        [TWINLENS, "watch", "--from-start", "--json"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        asyncio.run(ask_for_a_look(environment))
        assert watching.stdout is not None
        line: dict[str, str] = json.loads(watching.stdout.readline())
        return line
    finally:
        watching.terminate()
        watching.wait(10)
        if watching.stdout is not None:
            watching.stdout.close()


async def ask_for_a_look(environment: Mapping[str, str]) -> None:
    """There is no object store to announce the picture: a folder that nobody watches."""
    prefix = "TWINLENS_KAFKA__"
    named = {name.removeprefix(prefix).lower(): value for name, value in environment.items() if name.startswith(prefix)}
    settings = KafkaSettings.model_validate(named)
    request = {"request_id": "look", "op": "look", "key": "cat.png"}
    async with AIOKafkaProducer(**connection_options(settings)) as producer:
        await producer.send_and_wait(settings.topics.image_requests, json.dumps(request).encode())


@pytest.mark.parametrize("command", [("setup",), ("worker", "ingest"), ("watch",), ("publish", "cat.png")])
def test_a_wrong_password_is_told(
    secured: SecuredKafka, installation: dict[str, str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    """At once, with the user's name, and never with the password."""
    environment = {**installation, **secured.environment("SASL_SSL", SASL_PASSWORD="wr0ng-one")}
    (tmp_path / "cat.png").write_bytes(picture(1))
    done = twinlens(*(str(tmp_path / word) if word == "cat.png" else word for word in command), environment=environment)
    assert done.returncode == (CONFIGURATION if command[0] in ("setup", "worker") else ERROR), done.stderr
    assert "refuses the login of twinlens by PLAIN" in done.stderr
    assert "wr0ng-one" not in done.stdout + done.stderr


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_a_certificate_of_another_ca_is_told(
    secured: SecuredKafka, installation: dict[str, str], protocol: str
) -> None:
    """The setting that names the trusted CA is named."""
    environment = {**installation, **secured.environment(protocol, SSL_CA_FILE=str(secured.other_ca))}
    done = twinlens("setup", environment=environment)
    assert done.returncode == CONFIGURATION, done.stderr
    assert "is not trusted" in done.stderr
    assert "kafka.ssl_ca_file" in done.stderr


def test_a_mechanism_that_the_broker_does_not_offer_is_told(
    secured: SecuredKafka, installation: dict[str, str]
) -> None:
    """SCRAM against a broker that knows PLAIN only."""
    environment = {**installation, **secured.environment("SASL_SSL", SASL_MECHANISM="SCRAM-SHA-256")}
    done = twinlens("setup", environment=environment)
    assert done.returncode == CONFIGURATION, done.stderr
    assert "SCRAM-SHA-256" in done.stderr


def test_talking_tls_to_a_plain_listener_is_told(secured: SecuredKafka, installation: dict[str, str]) -> None:
    """It may be a broker that is just starting, so it counts as an outage, with the protocol in the words."""
    port = str(secured.ports["SASL_PLAINTEXT"])
    environment = {**installation, **secured.environment("SASL_SSL", BOOTSTRAP_SERVERS=f"127.0.0.1:{port}")}
    done = twinlens("watch", environment=environment)
    assert done.returncode == ERROR, done.stderr
    assert f"no Kafka broker answers at 127.0.0.1:{port} by SASL_SSL" in done.stderr
