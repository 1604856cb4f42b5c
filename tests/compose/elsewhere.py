"""Servers that somebody else runs: those of another installation, which ours reaches by its way to the outside."""

from __future__ import annotations

import json
import secrets
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml

from tests.compose.checks import expect
from tests.compose.client import Client
from tests.compose.images import docker
from tests.compose.stack import Stack
from tests.harness.documented import documented, documented_yaml

SERVERS: Final = ("kafka", "minio", "mysql", "milvus")
ROLES: Final = {"setup": "root", "worker": "writer", "query": "reader"}
_OF_SECTION: Final = "Servers that somebody else runs"
_GIVEN: Final = range(500, 504)
_AUTHORITY: Final = "/ca.pem"


def servers_elsewhere(stack: Stack) -> str:
    """None of the servers is ours: the example of the docs, with credentials for each role, and TLS to MySQL."""
    with tempfile.TemporaryDirectory(prefix="twinlens-elsewhere-") as name:
        folder = Path(name)
        theirs = _theirs(folder, stack)
        try:
            theirs.run("up", "--detach", "--wait", *SERVERS)
            passwords = {role: secrets.token_hex(16) for role in ROLES}
            ours = _ours(folder, stack, theirs, passwords)
            try:
                return _used(ours, theirs, passwords)
            finally:
                ours.remove()
        finally:
            theirs.remove()


def _theirs(folder: Path, stack: Stack) -> Stack:
    """Servers under names of their own; MySQL speaks TLS alone."""
    (folder / "theirs").mkdir()
    added = folder / "theirs.json"
    theirs = Stack(folder / "theirs", stack.variables, "twinlens-theirs", added)
    listeners = f"INSIDE://kafka.elsewhere:9092,OUTSIDE://localhost:{theirs.ports['KAFKA_PORT']}"
    kafka = {
        "environment": {"KAFKA_ADVERTISED_LISTENERS": listeners},
        "networks": {"messages": {"aliases": ["kafka.elsewhere"]}},
    }
    mysql = {"command": ["--character-set-server=utf8mb4", "--require-secure-transport=ON"]}
    added.write_text(json.dumps({"services": {"kafka": kafka, "mysql": mysql}}), encoding="utf-8")
    return theirs


def _ours(folder: Path, stack: Stack, theirs: Stack, passwords: dict[str, str]) -> Stack:
    """The example of the docs with its files, on networks that lead to their servers; query has none to Kafka."""
    for role, user in ROLES.items():
        account = dict.fromkeys(("mysql", "minio", "milvus"), f"twinlens_{user}:{passwords[role]}")
        if role == "setup":
            account = {server: f"root:{theirs.secret(f'{server}_root_password')}" for server in account}
            account["minio"] = f"{theirs.secret('minio_root_user')}:{theirs.secret('minio_root_password')}"
        access_key, _, secret_key = account["minio"].partition(":")
        options = f"charset=utf8mb4&ssl_ca={_AUTHORITY}&ssl_check_hostname=false"
        lines = {
            "TWINLENS_DATABASE__URL": f"mysql+asyncmy://{account['mysql']}@mysql.elsewhere:3306/twinlens?{options}",
            "TWINLENS_OBJECTS__ACCESS_KEY": access_key,
            "TWINLENS_OBJECTS__SECRET_KEY": secret_key,
            "TWINLENS_VECTORS__TOKEN": account["milvus"],
        }
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        (folder / f"{role}.env").write_text(text, encoding="utf-8")
    authority = folder / "ca.pem"
    authority.write_text(theirs.execute("mysql", "cat", "/var/lib/mysql/ca.pem").stdout, encoding="utf-8")
    added = folder / "added.json"
    added.write_text(json.dumps(_example(folder, authority)), encoding="utf-8")
    (folder / "ours").mkdir()
    variables = {
        **stack.variables,
        "TWINLENS_KAFKA__BOOTSTRAP_SERVERS": "kafka.elsewhere:9092",
        "TWINLENS_OBJECTS__ENDPOINT": "minio.elsewhere:9000",
        "TWINLENS_VECTORS__URI": "http://milvus.elsewhere:19530",
    }
    ours = Stack(folder / "ours", variables, "twinlens-ours", added)
    ours.run("create")
    for server in SERVERS:
        for network in ("internet", "page") if server != "kafka" else ("internet",):
            alias = ("--alias", f"{server}.elsewhere")
            docker("network", "connect", *alias, f"{ours.project}_{network}", theirs.container(server))
    return ours


def _example(folder: Path, authority: Path) -> dict[str, Any]:
    """The second compose file that the docs show, with its files where they lie, and MySQL's CA for who asks it."""
    example: dict[str, Any] = yaml.safe_load(documented_yaml(_OF_SECTION))
    for service in example["services"].values():
        if "env_file" in service:
            service["env_file"] = [str(folder / name) for name in service["env_file"]]
            service["volumes"] = [f"{authority}:{_AUTHORITY}:ro"]
    return example


def _used(ours: Stack, theirs: Stack, passwords: dict[str, str]) -> str:
    ours.run("run", "--rm", "--no-deps", "setup")
    shown = documented(_OF_SECTION, "docker compose run").replace("--no-deps", "--no-deps --no-TTY")
    for server in ("mysql", "minio", "milvus"):
        for role, may in (("worker", "write"), ("query", "read")):
            command = shown.replace("NEW", passwords[role]).replace("--may write", f"--may {may}")
            if server != "mysql":
                command = command.replace("grants mysql", f"grants {server}").replace(" --apply", "")
            ours.shell(command, Path())
    took = ours.up()
    left = [name for name in ours.services() if name in (*SERVERS, "etcd")]
    expect(not left, f"of the servers there run {left}")
    client = Client(ours, objects=theirs)
    client.put(_GIVEN)
    searchable = client.wait_found(_GIVEN)
    client.delete(_GIVEN[0])
    client.wait_gone(_GIVEN[0])
    connect = ("timeout", "10", "bash", "-c", "exec 3<>/dev/tcp/kafka.elsewhere/9092")
    expect(ours.execute("query", *connect, check=False).returncode != 0, "query reaches their Kafka")
    return f"up after {took:.0f} s, {len(_GIVEN)} pictures found after {searchable:.1f} s"
