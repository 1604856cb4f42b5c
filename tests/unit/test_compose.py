"""docker-compose.yaml and what its services run at their start."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stack.containers import overrides
from tests.stack.install import KAFKA_VERSION, MINIO_VERSION

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
JOBS = {"secrets", "setup"}
SECRET_WORDS = re.compile(r"PASSWORD|SECRET|TOKEN|ROOT_USER|ACCESS_KEY")
SCRIPTS = ROOT / "ops" / "compose"

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def pins(requirements: Path) -> set[str]:
    """The `name==version` lines of a compiled requirements file."""
    return set(re.findall(r"^([\w.-]+==[^\s;\\]+)", requirements.read_text(encoding="utf-8"), re.MULTILINE))


SEEN_BY = {
    "minio": {"minio_root_user", "minio_root_password"},
    "mysql": {"mysql_root_password", "mysql_password", "mysql_reader_password"},
    "milvus": {"milvus_root_password"},
    "worker": {"minio_writer_password", "mysql_password", "milvus_writer_password"},
    "api": {"minio_reader_password", "mysql_reader_password", "milvus_reader_password"},
}
"""The secrets in each volume but that of all."""


def make_secrets(folder: Path, **variables: str) -> dict[str, str]:
    """Run the secrets service's script on `folder`; the secrets that lie there afterwards."""
    for name in ("all", *SEEN_BY):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "SECRETS_FOLDER": str(folder), **variables}
    subprocess.run(["sh", str(SCRIPTS / "make-secrets.sh")], env=environment, check=True, capture_output=True)
    return secrets_in(folder / "all")


def secrets_in(folder: Path) -> dict[str, str]:
    """The secrets that whoever has the folder sees."""
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}


@every_service
def test_long_running_services_have_a_health_check(service: dict[str, Any]) -> None:
    """A service either runs once to its end or says whether it is healthy."""
    job = service["restart"] == "on-failure"
    assert job != ("healthcheck" in service)


def test_only_the_secrets_and_setup_run_once() -> None:
    """Everything else comes back by itself after a crash and after a reboot."""
    assert {name for name, service in SERVICES.items() if service["restart"] == "on-failure"} == JOBS
    assert {service["restart"] for service in SERVICES.values()} == {"on-failure", "unless-stopped"}


@every_service
def test_services_are_limited(service: dict[str, Any]) -> None:
    """Memory, processors and processes of each service have a limit, and its log files rotate."""
    assert service["mem_limit"]
    assert service["cpus"] > 0
    assert service["pids_limit"] > 0
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@every_service
def test_services_have_no_privileges(service: dict[str, Any]) -> None:
    """No service runs as root, keeps a capability or can gain one."""
    assert int(service["user"].split(":")[0]) > 0
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_our_own_services_cannot_write_to_their_root_file_system() -> None:
    """What Twinlens and MinIO write goes to a volume or to memory."""
    ours = {name for name, service in SERVICES.items() if service.get("read_only")}
    assert ours == {"secrets", "setup", "ingest", "requests", "index", "api", "minio"}


@every_service
def test_no_secret_is_written_down(service: dict[str, Any]) -> None:
    """A variable that names a secret holds a file's path or what the user set, never a value or a default."""
    for name, value in service.get("environment", {}).items():
        if SECRET_WORDS.search(name):
            assert value == f"${{{name}:-}}" or str(value).startswith("/secrets/"), name
    assert "env_file" not in service


def test_who_may_ask_is_passed_on() -> None:
    """Keys, rate, proxies and names of the service that `.env` has reach the query service; none is overridden."""
    passed_on = {name for name, value in SERVICES["api"]["environment"].items() if value is None}
    settings = ("KEY_HASHES", "RATE_LIMIT", "TRUSTED_PROXIES", "PUBLIC_URL", "ALLOWED_HOSTS")
    assert passed_on == {f"TWINLENS_API__{name}" for name in settings}


@every_service
def test_data_lies_in_named_volumes(service: dict[str, Any]) -> None:
    """A mount is a declared volume, or a file of this repository that can only be read."""
    for mount in service.get("volumes", []):
        source, _, mode = mount.split(":", 2) if mount.count(":") == 2 else (*mount.split(":"), "")
        if source.startswith("./"):
            assert mode == "ro"
            assert (ROOT / source).is_file()
        else:
            assert source in COMPOSE["volumes"]


@every_service
def test_services_are_open_to_this_machine_only(service: dict[str, Any]) -> None:
    """A published port listens on the loopback address unless the user names another."""
    for port in service.get("ports", []):
        assert port.startswith(("127.0.0.1:", "${TWINLENS_BIND:-127.0.0.1}:"))


def test_start_order() -> None:
    """Setup waits for healthy servers, workers and API for setup, and who reads secrets for their making."""

    def after(name: str) -> dict[str, str]:
        waits = SERVICES[name].get("depends_on", {})
        return {other: condition["condition"] for other, condition in waits.items()}

    assert after("setup") == dict.fromkeys(("kafka", "minio", "mysql", "milvus"), "service_healthy")
    for name in ("ingest", "requests", "index", "api"):
        assert after(name) == {"setup": "service_completed_successfully"}
    for name in ("minio", "mysql", "milvus"):
        assert after(name)["secrets"] == "service_completed_successfully"


def test_versions_are_those_the_tests_run_on() -> None:
    """Kafka and MinIO in containers are of the versions that `tests/stack` starts."""
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert f"github.com/minio/minio@{MINIO_VERSION}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_gets_the_tested_dependencies() -> None:
    """The image's requirements are pinned to the versions that the tests run with, and hold no test tools."""
    image, tested = pins(SCRIPTS / "requirements.txt"), pins(ROOT / "requirements.txt")
    assert image < tested
    assert not {"pytest", "mypy", "ruff"} & {pin.partition("==")[0] for pin in image}


def test_secrets_are_random_and_stay(tmp_path: Path) -> None:
    """Each installation gets secrets of its own, which a second start leaves alone."""
    first, other = tmp_path / "first", tmp_path / "other"
    made = make_secrets(first)
    assert make_secrets(first) == made
    assert not set(made.values()) & set(make_secrets(other).values())
    assert all(len(value) == 40 and value.isalnum() for name, value in made.items() if "password" in name)


def test_secrets_are_for_their_group_only(tmp_path: Path) -> None:
    """Others can't read a secret."""
    make_secrets(tmp_path)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("*/*")} == {0o640}


def test_each_service_sees_the_secrets_that_it_needs(tmp_path: Path) -> None:
    """Only setup sees all; a secret that was chosen anew reaches who needs it."""
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "minio_root_password").write_text("from an earlier version", encoding="utf-8")
    made = make_secrets(tmp_path)
    for whom, names in SEEN_BY.items():
        assert secrets_in(tmp_path / whom) == {name: made[name] for name in names}
    (tmp_path / "all" / "mysql_password").write_text("another", encoding="utf-8")
    make_secrets(tmp_path)
    assert secrets_in(tmp_path / "worker")["mysql_password"] == "another"
    mounted = {
        name: [mount.split(":")[0] for mount in service.get("volumes", []) if mount.startswith("secrets")]
        for name, service in SERVICES.items()
    }
    assert mounted.pop("secrets") == ["secrets", *[f"secrets-{whom}" for whom in SEEN_BY]]
    assert mounted.pop("setup") == ["secrets"]
    workers = {name: ["secrets-worker"] for name in ("ingest", "requests", "index")}
    servers = {name: [f"secrets-{name}"] for name in ("minio", "mysql", "milvus", "api")}
    assert mounted == {**workers, **servers, "kafka": [], "etcd": []}


def test_the_query_service_has_no_way_to_kafka() -> None:
    """They share no network, nor does any way to the outside join two services."""
    at = {name: set(service.get("networks", [])) for name, service in SERVICES.items()}
    assert not at["api"] & at["kafka"]
    inner = {name for name, network in COMPOSE["networks"].items() if (network or {}).get("internal")}
    outer = [network for networks in at.values() for network in networks - inner]
    assert len(outer) == len(set(outer))


def test_a_user_can_choose_secrets(tmp_path: Path) -> None:
    """A secret set in `.env` is taken as it is."""
    made = make_secrets(tmp_path, MINIO_ROOT_USER="me", MYSQL_PASSWORD="with spaces %41")
    assert (made["minio_root_user"], made["mysql_password"]) == ("me", "with spaces %41")


def test_an_interrupted_making_of_secrets_is_finished(tmp_path: Path) -> None:
    """An empty file that a crash left is not taken for a secret."""
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "mysql_password").touch()
    assert len(make_secrets(tmp_path)["mysql_password"]) == 40


def started(tmp_path: Path, command: str, whom: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The secrets made, and the variables and arguments of each `twinlens` that the container's start runs."""
    secrets = tmp_path / "secrets"
    made = make_secrets(secrets)
    program = tmp_path / "twinlens"
    program.write_text('#!/bin/sh\nenv | grep "^TWINLENS_"; echo "arguments=$*"; echo\n', encoding="utf-8")
    program.chmod(0o755)
    done = subprocess.run(
        ["sh", str(SCRIPTS / "twinlens.sh"), command, "more"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SECRETS_FOLDER": str(secrets / whom)},
        capture_output=True,
        text=True,
        check=True,
    )
    runs = done.stdout.strip().split("\n\n")
    return made, [dict(line.split("=", 1) for line in run.splitlines()) for run in runs]


def credentials(made: dict[str, str], user: str) -> dict[str, str]:
    """The settings of `root`, or of who writes or reads."""
    kind = user.removeprefix("twinlens_")
    mysql = f"{user}:{made['mysql_reader_password']}" if kind == "reader" else f"twinlens:{made['mysql_password']}"
    return {
        "TWINLENS_DATABASE__URL": f"mysql+asyncmy://{mysql}@mysql:3306/twinlens?charset=utf8mb4",
        "TWINLENS_OBJECTS__ACCESS_KEY": made["minio_root_user"] if kind == "root" else user,
        "TWINLENS_OBJECTS__SECRET_KEY": made[f"minio_{kind}_password"],
        "TWINLENS_VECTORS__TOKEN": f"{user}:{made[f'milvus_{kind}_password']}",
    }


@pytest.mark.parametrize(("command", "user"), [("api", "twinlens_reader"), ("worker", "twinlens_writer")])
def test_twinlens_gets_its_secrets(tmp_path: Path, command: str, user: str) -> None:
    """The container's start puts the secrets into the settings, from the folder that the service sees."""
    made, [seen] = started(tmp_path, command, whom=command)
    assert seen == {**credentials(made, user), "arguments": f"{command} more"}


def test_setup_creates_the_users(tmp_path: Path) -> None:
    """Setup creates those that the other services' starts name, with their passwords."""
    made, runs = started(tmp_path, "setup", whom="all")
    administrator = credentials(made, "root")
    grants = [
        {
            **administrator,
            "arguments": f"grants {server} --may {may}",
            "TWINLENS_GRANTS_PASSWORD": made[f"{server}_{kind}_password"],
        }
        for server in ("minio", "milvus")
        for may, kind in (("write", "writer"), ("read", "reader"))
    ]
    assert runs == [{**administrator, "arguments": "setup more"}, *grants]


@pytest.mark.parametrize(
    ("published_on", "keys", "warned"),
    [("127.0.0.1", "", False), ("0.0.0.0", "", True), ("0.0.0.0", "{}", True), ("0.0.0.0", '{"shop": "ab"}', False)],  # noqa: S104
)
def test_a_public_service_without_keys_is_warned_of(
    tmp_path: Path, published_on: str, keys: str, *, warned: bool
) -> None:
    """Whoever publishes it to others hears at each start that they can read everything."""
    make_secrets(tmp_path)
    variables = {
        "PUBLISHED_ON": published_on,
        "TWINLENS_API__KEY_HASHES": keys,
        "SECRETS_FOLDER": str(tmp_path / "api"),
    }
    (tmp_path / "twinlens").symlink_to("/bin/true")
    done = subprocess.run(
        ["sh", str(SCRIPTS / "twinlens.sh"), "api"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SECRETS_FOLDER": str(tmp_path / "api"), **variables},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ("WARNING" in done.stderr) == warned


def test_compose_understands_the_files(tmp_path: Path) -> None:
    """Where Docker Compose is installed, it accepts the file, and with it what the tests add to it."""
    compose = shutil.which("docker-compose")
    added = tmp_path / "added.json"
    added.write_text(json.dumps(overrides(mysql=3306, milvus=19530)), encoding="utf-8")
    both = yaml.safe_load(added.read_text(encoding="utf-8"))
    assert set(both["services"]) <= set(SERVICES)
    if compose is not None:
        command = [compose, "-f", "docker-compose.yaml", "-f", str(added), "config", "--quiet"]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)
