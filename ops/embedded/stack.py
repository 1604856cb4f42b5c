"""The embedded stack as a whole: servers and Twinlens's own processes on free ports, started, watched and stopped."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ops.embedded import programs, servers
from ops.embedded.errors import StackError
from ops.embedded.folder import DataFolder, Store
from ops.embedded.ports import HOST, is_free
from ops.embedded.process import Process, Program
from ops.embedded.servers import NOTIFICATION_TARGETS
from ops.embedded.supervisor import Say, supervise

BUCKET: Final = "pictures"
SESSION_TIMEOUT_S: Final = 6
"""Tansu lets the first worker of a group wait for half of it, and one that comes back after a `kill -9` for twice."""


class EmbeddedStack:
    """Made for one data folder, which the caller holds. ``minio`` is None for the folder store."""

    def __init__(self, folder: DataFolder, *, api_port: int, minio: Path | None) -> None:
        self._folder = folder
        self._minio = minio
        names = ("kafka", "vectors", "s3", "console", "ingest", "requests", "index")
        self._ports = {name: folder.port(name) for name in names}
        self._ports["api"] = api_port
        self._servers = [Process(program) for program in self._server_programs()]
        self._workers = [Process(program) for program in self._worker_programs()]

    @property
    def api_url(self) -> str:
        """Where the query service and the page answer."""
        return f"http://{HOST}:{self._ports['api']}"

    @property
    def console_url(self) -> str | None:
        """MinIO's own page, if there is MinIO."""
        return f"http://{HOST}:{self._ports['console']}" if self._minio else None

    @property
    def drop_into(self) -> str:
        """Where pictures are dropped: the URL of the bucket on the S3 server, or the path of its folder."""
        if self._minio:
            return f"http://{HOST}:{self._ports['s3']}/{BUCKET}"
        return str(self._folder.buckets / BUCKET)

    @property
    def environment(self) -> dict[str, str]:
        """The settings that make any `twinlens` command part of this stack."""
        access_key, secret_key = self._folder.credentials()
        settings = {
            "KAFKA__BOOTSTRAP_SERVERS": f"{HOST}:{self._ports['kafka']}",
            "KAFKA__SECURITY_PROTOCOL": "PLAINTEXT",
            "KAFKA__TOPIC_PREFIX": "twinlens.",
            "KAFKA__PARTITIONS": "4",
            "KAFKA__REPLICATION_FACTOR": "1",
            "KAFKA__SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
            # Tansu, asked for the end of a log, tells one that is too low.
            "KAFKA__WATCH_MADE_ANEW": "false",
            "OBJECTS__BACKEND": "s3" if self._minio else "folder",
            "OBJECTS__ENDPOINT": f"{HOST}:{self._ports['s3']}",
            "OBJECTS__SECURE": "false",
            "OBJECTS__ACCESS_KEY": access_key,
            "OBJECTS__SECRET_KEY": secret_key,
            "OBJECTS__BUCKETS": json.dumps([BUCKET]),
            "OBJECTS__NOTIFICATION_ARNS": json.dumps([f"arn:minio:sqs::{name}:kafka" for name in NOTIFICATION_TARGETS]),
            "OBJECTS__FOLDER": str(self._folder.buckets),
            "DATABASE__URL": f"sqlite+aiosqlite:///{self._folder.path / 'twinlens.db'}",
            "VECTORS__URI": f"http://{HOST}:{self._ports['vectors']}",
            "VECTORS__TOKEN": "",
            "INGEST__HEALTH_HOST": HOST,
            "INGEST__HEALTH_PORT": str(self._ports["ingest"]),
            "REQUESTS__HEALTH_HOST": HOST,
            "REQUESTS__HEALTH_PORT": str(self._ports["requests"]),
            "INDEX__HEALTH_HOST": HOST,
            "INDEX__HEALTH_PORT": str(self._ports["index"]),
            "API__HOST": HOST,
            "API__PORT": str(self._ports["api"]),
            "API__PUBLIC_URL": "",
            "API__KEY_HASHES": "{}",
            "API__RATE_LIMIT": "",
            "API__FILE_DELIVERY": "stream",
        }
        return {f"TWINLENS_{name}": value for name, value in settings.items()}

    async def start_servers(self) -> None:
        """Start what keeps the data, and wait until all of it answers. Raises StackError."""
        self._launch(self._servers)
        await asyncio.gather(*[process.wait_ready() for process in self._servers])

    async def launch_workers(self) -> None:
        """Start the workers and the query service, after the setup."""
        if not is_free(self._ports["api"]):
            raise StackError(f"port {self._ports['api']} was taken by another program just now; try again")
        self._launch(self._workers)

    async def wait_for_workers(self) -> None:
        """Wait until each of them is ready. Raises StackError."""
        await asyncio.gather(*[process.wait_ready() for process in self._workers])

    async def supervise(self, say: Say) -> None:
        """Watch over all processes for ever. Raises StackError when one can't be started again."""
        # The broker's memory is the record of who has read what: a new one would not know the workers' places.
        await supervise([*self._servers, *self._workers], say, irreplaceable={"tansu"})

    async def stop(self) -> None:
        """End everything: first those who write, then those who keep. Safe to repeat."""
        for group in (self._workers, self._servers):
            for process in group:
                process.terminate()
            await asyncio.gather(*[process.stop() for process in group])

    def _launch(self, processes: Sequence[Process]) -> None:
        for process in processes:
            _begin_log(process.log)
            process.launch()

    def _server_programs(self) -> list[Program]:
        found = [
            servers.tansu(self._folder, self._ports["kafka"]),
            servers.milvus_lite(self._folder, self._ports["vectors"]),
        ]
        if self._minio:
            ports = {"port": self._ports["s3"], "console_port": self._ports["console"]}
            found.append(servers.minio(self._folder, self._minio, kafka_port=self._ports["kafka"], **ports))
        return found

    def _worker_programs(self) -> list[Program]:
        return [
            self._own("ingest", "worker", "ingest"),
            self._own("requests", "worker", "requests"),
            self._own("index", "worker", "index"),
            self._own("api", "api"),
        ]

    def _own(self, name: str, *arguments: str) -> Program:
        ready = servers.answers_ok(f"http://{HOST}:{self._ports[name]}/readyz")
        environment = {**self.environment, "TWINLENS_LOG__FORMAT": "json"}
        command = [sys.executable, "-m", "ops.cli", *arguments]
        return Program(name, command, self._folder.logs / f"{name}.log", ready, environment, start_s=180)


def minio_or_folder(wanted: Store | None, folder: DataFolder) -> Path | None:
    """The MinIO program, or None for the folder store: what is ``wanted``, else what the data folder remembers.

    A data folder that remembers none gets MinIO if there is one. Raises StackError where MinIO is meant and is not
    there: another store would have none of the pictures.
    """
    chosen = wanted or folder.store()
    if chosen is Store.FOLDER:
        return None
    program = programs.find_minio()
    if program is None and chosen is Store.MINIO:
        without = "leave --objects out to do without" if wanted else "--objects folder begins with an empty folder"
        raise StackError(
            f"{'' if wanted else f'the pictures of {folder.path} are in MinIO, and '}no `minio` program was found on "
            f"PATH or in the cache; {without}"
        )
    return program


def _begin_log(log: Path) -> None:
    """Keep the log of the run before under another name."""
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
