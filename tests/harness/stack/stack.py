"""The servers together: Kafka, Milvus, one of two object stores and one of two databases."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Literal, get_args

from tests.harness.stack.kafka import Link, kafka_server
from tests.harness.stack.mariadb import mariadb_server
from tests.harness.stack.milvus import milvus_server
from tests.harness.stack.minio import Credentials, minio_server, new_credentials
from tests.harness.stack.mysql import mysql_server
from tests.harness.stack.process import ServerError, ServerProcess, free_port
from tests.harness.stack.versitygw import versitygw_server

type DatabaseName = Literal["mariadb", "mysql"]
type ObjectStoreName = Literal["minio", "versitygw"]
type ServerName = Literal["kafka", "minio", "versitygw", "mariadb", "mysql", "milvus"]
DATABASES: tuple[DatabaseName, ...] = get_args(DatabaseName.__value__)
OBJECT_STORES: tuple[ObjectStoreName, ...] = get_args(ObjectStoreName.__value__)
EVERY_SERVER: tuple[ServerName, ...] = get_args(ServerName.__value__)

_DATABASE_USER = "twinlens"


def servers_with(database: DatabaseName, objects: ObjectStoreName = "minio") -> tuple[ServerName, ...]:
    """The four servers of a stack with this database and this object store."""
    left_out = {*DATABASES, *OBJECT_STORES} - {database, objects}
    return tuple(name for name in EVERY_SERVER if name not in left_out)


SERVERS = servers_with("mariadb")
"""The four servers of a stack unless another database is asked for."""


@dataclass(frozen=True)
class Addresses:
    """Where the servers answer.

    `kafka` and `s3`: host:port. `database`: SQLAlchemy URL of the server, with a user who may do everything and
    without a database name. `milvus`: URI.
    """

    kafka: str
    s3: str
    access_key: str
    secret_key: str
    database: str
    milvus: str

    def database_url(self, name: str) -> str:
        """The SQLAlchemy URL of the database `name`."""
        return f"{self.database}/{name}?charset=utf8mb4"


class Stack:
    """Kafka, an object store, a database and Milvus with their data in one folder.

    `database` says which one counts as the stack's own; the other one can be started by its name beside it, and
    `addresses_with` tells where. Of the object stores only one can run, since they have one address. A server is
    configured and started when it is first asked for; its port is fixed before, so that MinIO can be told Kafka's
    address while Kafka is down. A new `Stack` on the same folder keeps addresses, secrets and data. `short_lived`: its
    servers are to start at little cost rather than to be fast.
    """

    def __init__(
        self,
        folder: Path,
        logs: Path | None = None,
        *,
        database: DatabaseName = "mariadb",
        objects: ObjectStoreName = "minio",
        kafka_link: Link | None = None,
        short_lived: bool = False,
    ) -> None:
        self._folder = folder.resolve()
        self._kafka_link = kafka_link
        self._short_lived = short_lived
        self._logs = (logs or folder / "logs").resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self.names = servers_with(database, objects)
        self._addresses = self._fixed_addresses()
        self.addresses = self._addresses[database]
        self._processes: dict[ServerName, ServerProcess] = {}
        self._locks = {name: Lock() for name in EVERY_SERVER}

    def addresses_with(self, database: DatabaseName) -> Addresses:
        """The addresses with that one of the two databases."""
        return self._addresses[database]

    def start(self, *names: ServerName) -> None:
        """Start those of the servers (default: the stack's four) that don't run, side by side, until all answer.

        One that somebody else has begun to start is waited for as well. If one fails, or a signal's exception comes in
        between, those that were started here are ended.
        """
        wanted = names or self.names
        started = [name for name in wanted if name not in self.pids()]
        with ThreadPoolExecutor(len(EVERY_SERVER)) as pool:
            try:
                list(pool.map(self._start, wanted))
            except BaseException:
                for name in started:
                    self.kill(name)
                raise

    def stop(self, *names: ServerName) -> None:
        """Stop servers (default: all) in good order. Safe to repeat."""
        with ThreadPoolExecutor(len(EVERY_SERVER)) as pool:
            list(pool.map(lambda name: self.process(name).stop(), set(names or EVERY_SERVER) & set(self._processes)))

    def kill(self, name: ServerName) -> None:
        """End a server as `kill -9` does; `start(name)` brings it back on the same port and data."""
        self.process(name).kill()

    def process(self, name: ServerName) -> ServerProcess:
        """The process of one server."""
        if name not in self._processes:
            self._processes[name] = self._recipes()[name]()
        return self._processes[name]

    def data_folder(self, name: ServerName) -> Path:
        """Where a server keeps everything."""
        return self._folder / name

    def pids(self) -> dict[str, int]:
        """The process id of each server that runs."""
        return {name: process.pid for name, process in self._processes.items() if process.pid is not None}

    def _start(self, name: ServerName) -> None:
        with self._locks[name]:
            self.process(name).start()

    def _fixed_addresses(self) -> dict[DatabaseName, Addresses]:
        saved = self._folder / "addresses.json"
        if not saved.exists():
            saved.touch(mode=0o600)
            saved.write_text(json.dumps(_choose_addresses()), encoding="utf-8")
        found = json.loads(saved.read_text(encoding="utf-8"))
        if not found.keys() >= {*DATABASES}:
            raise ServerError(f"the data in {self._folder} is of an older version; begin without it")
        return {name: Addresses(**found[name]) for name in DATABASES}

    def _recipes(self) -> dict[ServerName, Callable[[], ServerProcess]]:
        at, folder, logs = self.addresses, self._folder, self._logs
        credentials = Credentials(at.access_key, at.secret_key)
        mariadb, mysql = (self._addresses[name].database for name in ("mariadb", "mysql"))
        return {
            "kafka": lambda: kafka_server(
                folder / "kafka", logs, _port(at.kafka), link=self._kafka_link, short_lived=self._short_lived
            ),
            "minio": lambda: minio_server(folder / "minio", logs, _port(at.s3), credentials, at.kafka),
            "versitygw": lambda: versitygw_server(folder / "versitygw", logs, _port(at.s3), credentials, at.kafka),
            "mariadb": lambda: mariadb_server(folder / "mariadb", logs, mariadb),
            "mysql": lambda: mysql_server(folder / "mysql", logs, mysql),
            "milvus": lambda: milvus_server(folder / "milvus", logs, _port(at.milvus)),
        }


def _choose_addresses() -> dict[DatabaseName, dict[str, str]]:
    """Free ports and new secrets, with each of the databases."""
    credentials = new_credentials()
    common = Addresses(
        kafka=f"127.0.0.1:{free_port()}",
        s3=f"127.0.0.1:{free_port()}",
        access_key=credentials.access_key,
        secret_key=credentials.secret_key,
        database="",
        milvus=f"http://127.0.0.1:{free_port()}",
    )
    return {name: asdict(replace(common, database=_database_address())) for name in DATABASES}


def _database_address() -> str:
    return f"mysql+asyncmy://{_DATABASE_USER}:{secrets.token_urlsafe(18)}@127.0.0.1:{free_port()}"


def _port(address: str) -> int:
    return int(address.rsplit(":", 1)[1])
