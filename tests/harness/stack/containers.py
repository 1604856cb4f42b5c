"""The servers in containers, from the project's own compose file (`TWINLENS_TEST_DOCKER=1`).

Testcontainers drives `docker compose` over the repository's file and a second one that opens the ports and gives MinIO
the tests' notification targets. Users and passwords are asked for as they are by the compose file: see `accounts`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.stack.cache import exclusive
from tests.harness.stack.minio import new_credentials, target_variables
from tests.harness.stack.process import free_port
from tests.harness.stack.stack import Addresses

if TYPE_CHECKING:
    from testcontainers.compose import DockerCompose

_CHECKOUT = Path(__file__).resolve().parents[3]
_SERVICES = ["kafka", "minio", "mysql", "milvus"]


def find_compose() -> list[str] | None:
    """How Compose is called here, if it is: as docker's own subcommand, or as a program."""
    if shutil.which("docker") is not None:
        version = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if version.returncode == 0:
            return ["docker", "compose"]
    program = shutil.which("docker-compose")
    return None if program is None else [program]


def wants_containers() -> bool:
    """Whether `TWINLENS_TEST_DOCKER` asks for containers instead of processes."""
    return os.environ.get("TWINLENS_TEST_DOCKER", "") not in {"", "0"}


def container_addresses(folder: Path) -> Addresses:
    """Where the run's containers answer; the first caller starts them and waits until they are healthy."""
    saved = folder / "containers.json"
    with exclusive(folder / "containers.lock"):
        if not saved.exists():
            addresses = _choose(folder)
            _compose(folder, _SERVICES).start()
            saved.write_text(json.dumps(asdict(addresses)), encoding="utf-8")
    return Addresses(**json.loads(saved.read_text(encoding="utf-8")))


def remove_containers(folder: Path) -> None:
    """Remove the run's containers and volumes, if it has any, whether or not all of them came up."""
    if (folder / "compose.env").exists():
        # Those that they needed, too.
        _compose(folder, None).stop()


def _compose(folder: Path, services: list[str] | None) -> DockerCompose:
    from testcontainers.compose import DockerCompose

    return DockerCompose(
        _CHECKOUT,
        compose_file_name=["docker-compose.yaml", str(folder / "compose.json")],
        env_file=str(folder / "compose.env"),
        services=services,
        build=True,
    )


def _choose(folder: Path) -> Addresses:
    """Choose ports and secrets, and write the files that tell them to compose."""
    credentials, password = new_credentials(), secrets.token_hex(16)
    kafka, s3, mysql, milvus = (free_port() for _ in _SERVICES)
    variables = {
        "COMPOSE_PROJECT_NAME": folder.name.lower().replace("_", "-"),
        "KAFKA_PORT": kafka,
        "S3_PORT": s3,
        "S3_CONSOLE_PORT": free_port(),
        "MINIO_ROOT_USER": credentials.access_key,
        "MINIO_ROOT_PASSWORD": credentials.secret_key,
        "MYSQL_ROOT_PASSWORD": password,
        "MILVUS_ROOT_PASSWORD": password,
    }
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    (folder / "compose.env").write_text(lines, encoding="utf-8")
    (folder / "compose.json").write_text(json.dumps(overrides(mysql, milvus)), encoding="utf-8")
    return Addresses(
        kafka=f"localhost:{kafka}",
        s3=f"127.0.0.1:{s3}",
        access_key=credentials.access_key,
        secret_key=credentials.secret_key,
        database=f"mysql+asyncmy://root:{password}@127.0.0.1:{mysql}",
        milvus=f"http://root:{password}@127.0.0.1:{milvus}",
    )


def overrides(mysql: int, milvus: int) -> dict[str, object]:
    """The second compose file: what the tests need beyond the first."""
    return {
        "services": {
            "minio": {"environment": target_variables("kafka:9092", Path("/data/event-queue"))},
            "mysql": {"ports": [f"127.0.0.1:{mysql}:3306"], "networks": ["inside", "outside"]},
            "milvus": {
                "ports": [f"127.0.0.1:{milvus}:19530"],
                "networks": ["inside", "etcd", "outside"],
            },
        },
        "networks": {"outside": {}},
    }
