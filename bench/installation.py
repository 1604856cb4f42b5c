"""An installation of the benchmark's own: real servers and Twinlens on them in one folder, started and stopped here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.running import Place, Running
from tests.harness.stack.cleanup import in_own_loop, run_sql
from tests.harness.stack.health import answers_ok
from tests.harness.stack.process import Command, ServerProcess
from tests.harness.stack.settings import twinlens_environment
from tests.harness.stack.stack import DatabaseName, ServerName, Stack
from tests.harness.stack.supervisor import Supervisor
from tests.harness.stack.twinlens import Application, roles

BUCKET = "pictures"
DATABASE = "twinlens"
INGEST = "ingest"
_START_S = 120
_TWINLENS = str(Path(sys.executable).with_name("twinlens"))
_QUIET: Mapping[str, str] = {"TWINLENS_RECONCILE__AFTER_OUTAGE": "false"}
"""The ingest worker is stopped to make a backlog, and it is the backlog that is measured, not the comparison of
everything that it makes after a time in which nobody watched. The measured outages have that."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is started. ``null_model_ms``: see ``bench.null_model``; None for the real model."""

    index_workers: int = 1
    null_model_ms: float | None = None
    database: DatabaseName = "mysql"


@dataclass(slots=True)
class Installation:
    """Servers, workers and query service under control, with plain clients of them in ``running``."""

    running: Running
    choice: Choice
    _stack: Stack
    _application: Application
    _environment: Mapping[str, str]
    _logs: Path

    @property
    def database(self) -> ServerName:
        """The name of the SQL server among the servers."""
        [name] = set(self._stack.pids()) - {"kafka", "minio", "milvus"}
        return name  # type: ignore[return-value]  # A name that the stack gave.

    @property
    def servers(self) -> Sequence[str]:
        """The servers that run."""
        return sorted(self._stack.pids())

    @property
    def workers(self) -> Sequence[str]:
        """Ingest and index workers; nothing here makes requests."""
        return [name for name in self._application.processes if name not in {"requests", "api"}]

    @property
    def index_workers(self) -> Sequence[str]:
        """The index workers among them."""
        return [name for name in self.workers if name != INGEST]

    def start(self, *names: str) -> None:
        """Start workers (default: all) and wait until they are ready, which means that they have partitions."""
        chosen = [self._application.processes[name] for name in names or self.workers]
        for process in chosen:
            process.launch()
        for process in chosen:
            process.wait_ready()

    def stop(self, *names: str) -> None:
        """Stop workers (default: all) in good order."""
        self.running.note_peaks()
        chosen = [self._application.processes[name] for name in names or self.workers]
        for process in chosen:
            process.terminate()
        for process in chosen:
            process.stop()

    def kill_server(self, name: ServerName) -> None:
        """End a server as `kill -9` does."""
        self._stack.kill(name)

    def start_server(self, name: ServerName) -> None:
        """Start it again and wait until it answers."""
        self._stack.start(name)

    def worker_url(self, name: str) -> str:
        """Where a worker has its /metrics."""
        return self._application.health_url(name)

    def supervisor(self) -> Supervisor:
        """Starts workers again that end, as a container engine would."""
        return Supervisor({name: self._application.processes[name] for name in self.workers}, lambda _: None)

    @contextmanager
    def comparing(self) -> Iterator[None]:
        """Within the block the ingest worker compares everything after an outage, as it does by default."""
        loud = {name: value for name, value in self._environment.items() if name not in _QUIET}
        with self._instead(INGEST, loud):
            yield

    @contextmanager
    def asking_for_keys(self, hashes: Mapping[str, str]) -> Iterator[None]:
        """Within the block the query service answers those only who have one of the keys: SHA-256 in hex by name."""
        with self._instead("api", {**self._environment, "TWINLENS_API__KEY_HASHES": json.dumps(hashes)}):
            yield

    @contextmanager
    def forgetting_pictures(self) -> Iterator[None]:
        """Within the block the query service keeps no local features: each verified search looks at its hits anew."""
        with self._instead("api", {**self._environment, "TWINLENS_API__FEATURES_CACHE_BYTES": "1"}):
            yield

    @contextmanager
    def verifying(self, neighbours: int) -> Iterator[None]:
        """Within the block the index workers verify so many of a new picture's neighbours."""
        environment = {**self._environment, "TWINLENS_INDEX__VERIFY_NEAREST": str(neighbours)}
        with ExitStack() as stack:
            for name in self.index_workers:
                stack.enter_context(self._instead(name, environment))
            yield

    @contextmanager
    def _instead(self, name: str, environment: Mapping[str, str]) -> Iterator[None]:
        """Within the block a process runs under another environment."""
        usual = self._application.processes[name]
        self.stop(name)
        self._application.processes[name] = self._process(name, environment, _TWINLENS)
        self.start(name)
        try:
            yield
        finally:
            self.stop(name)
            self._application.processes[name] = usual
            self.start(name)

    def launch(self) -> None:
        """Set up, and start all processes of Twinlens."""
        if self.choice.null_model_ms is not None:
            program = (sys.executable, "-m", "bench.null_model", str(self.choice.null_model_ms))
            for name in (*self.index_workers, "api"):
                self._application.processes[name] = self._process(name, self._environment, *program)
        self._application.start()

    def close(self) -> None:
        """End all processes."""
        self.running.close()
        self._application.stop()
        self._stack.stop()

    def _process(self, name: str, environment: Mapping[str, str], *program: str) -> ServerProcess:
        """A process of the application under another environment or by another program, at the same address."""
        [role] = [role for role in roles(self.choice.index_workers) if role.name == name]
        url = self._application.health_url(name)
        port = {f"TWINLENS_{role.section}__{role.port_key}": url.rsplit(":", 1)[1]}
        return ServerProcess(
            name,
            Command([*program, *role.arguments], {**environment, **port}),
            log=self._logs / f"{name}.log",
            is_ready=lambda: answers_ok(f"{url}/readyz"),
            start_seconds=_START_S,
        )


@contextmanager
def installed(folder: Path, choice: Choice) -> Iterator[Installation]:
    """Everything started, and ended with the block."""
    logs = folder / "logs"
    stack = Stack(folder / "servers", logs, database=choice.database)
    stack.start()
    try:
        installation = _on(stack, logs, choice)
        try:
            installation.launch()
            yield installation
        finally:
            installation.close()
    finally:
        stack.stop()


def _on(stack: Stack, logs: Path, choice: Choice) -> Installation:
    at = stack.addresses
    in_own_loop(run_sql(at.database, f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4"))
    url = at.database_url(DATABASE)
    more = {"TWINLENS_ENVIRONMENT": "production", "TWINLENS_LOG__FORMAT": "json", **_QUIET}
    environment = twinlens_environment(at, bucket=BUCKET, database_url=url, more=more)
    application = Application(environment, logs, index_workers=choice.index_workers)
    place = Place(
        api=application.api_url,
        s3=at.s3,
        access_key=at.access_key,
        secret_key=at.secret_key,
        bucket=BUCKET,
        kafka=at.kafka,
        database=url,
        milvus=at.milvus,
    )

    def pids() -> dict[str, int]:
        twinlens = {name: process.pid for name, process in application.processes.items() if process.pid is not None}
        return {**stack.pids(), **twinlens}

    return Installation(Running.at(place, pids), choice, stack, application, environment, logs)
