"""Pytest fixtures: servers for the whole run, and names of a test's own on them.

The servers start when a test first asks for them and are shared by all processes of the run. See
`external.VARIABLES` for using servers that are there already, and `TWINLENS_TEST_DOCKER=1` for containers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import pytest
from minio import Minio

from tests.harness.stack.cleanup import (
    delete_topics,
    drop_collections,
    in_own_loop,
    remove_bucket,
    run_sql,
    s3_client,
)
from tests.harness.stack.containers import container_addresses, remove_containers, wants_containers
from tests.harness.stack.external import named_servers, with_named
from tests.harness.stack.minio import TEST_ROUTES, EventRoute
from tests.harness.stack.process import ServerError
from tests.harness.stack.settings import twinlens_environment
from tests.harness.stack.shared import StackControl, TestRun, connect
from tests.harness.stack.stack import EVERY_SERVER, SERVERS, Addresses, DatabaseName, ServerName, Stack

_RUN_VARIABLE = "TWINLENS_TEST_RUN"
_run_key = pytest.StashKey[TestRun]()
_failed_key = pytest.StashKey[bool]()
PRIVATE = pytest.StashKey[Stack]()
PRIVATE_FILES = pytest.StashKey[set[Path]]()


def pytest_configure(config: pytest.Config) -> None:
    """Open the run's folder in the process that controls it; xdist's workers inherit its name."""
    if _RUN_VARIABLE not in os.environ:
        run = TestRun(Path(tempfile.mkdtemp(prefix="twinlens-test-")))
        config.stash[_run_key] = run
        os.environ[_RUN_VARIABLE] = str(run.folder)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember whether the servers' logs may be wanted."""
    session.config.stash[_failed_key] = exitstatus == pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers; keep their logs if a test failed."""
    run = config.stash.get(_run_key, None)
    if run is None:
        return
    del os.environ[_RUN_VARIABLE]
    run.close()
    remove_containers(run.folder)
    logs = run.folder / "logs"
    if config.stash.get(_failed_key, False) and logs.exists():
        shutil.rmtree(run.folder / "servers", ignore_errors=True)
        print(f"\nThe servers' logs are in {logs}")
    else:
        shutil.rmtree(run.folder, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remember which files have tests on the process's private servers."""
    config.stash[PRIVATE_FILES] = {item.path for item in items if "private_stack" in _fixtures(item)}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Kill the private servers once tests of other files come: idle, they take memory and some of a core."""
    stack = item.config.stash.get(PRIVATE, None)
    if stack is not None and item.path not in item.config.stash[PRIVATE_FILES]:
        for name in stack.names:
            stack.kill(name)


class Servers:
    """The servers of this run: ours, a person's (`TWINLENS_TEST_*`), or in containers."""

    def __init__(self) -> None:
        self._control: StackControl | None = None
        self._elsewhere = frozenset(EVERY_SERVER) if wants_containers() else named_servers()

    def need(self, *names: ServerName) -> Addresses:
        """Addresses, once the named servers answer; those of the others may not.

        The address of the database is that of MySQL where it is among the names, else that of MariaDB.
        """
        if wants_containers():
            return container_addresses(Path(os.environ[_RUN_VARIABLE]))
        ours = [name for name in names if name not in self._elsewhere]
        control = self._connected()
        if ours:
            control.start(*ours)
        return with_named(control.addresses["mysql" if "mysql" in names else "mariadb"])

    def kill(self, name: ServerName) -> None:
        """End one of our servers as `kill -9` does, for every test of the run; `need` starts it again."""
        self._refuse_foreign(name)
        self._connected().kill(name)

    def stop(self, name: ServerName) -> None:
        """Stop one of our servers in good order, for every test of the run; `need` starts it again."""
        self._refuse_foreign(name)
        self._connected().stop(name)

    def claims_folder(self) -> Path:
        """Where locks for what can't be made anew per test lie: with the run, or for all runs on foreign servers."""
        address = self.need("minio").s3.replace(":", "-")
        own = Path(os.environ[_RUN_VARIABLE])
        folder = (Path(tempfile.gettempdir()) if "minio" in self._elsewhere else own) / f"twinlens-routes-{address}"
        folder.mkdir(exist_ok=True)
        return folder

    def _connected(self) -> StackControl:
        if self._control is None:
            self._control = connect(Path(os.environ[_RUN_VARIABLE]))
        return self._control

    def _refuse_foreign(self, name: ServerName) -> None:
        if name in self._elsewhere:
            raise ServerError(f"{name} isn't ours to stop; a test that stops servers uses `private_stack`")


@pytest.fixture(scope="session")
def servers() -> Servers:
    """The run's servers; a test asks `servers.need("kafka", …)` or uses one of the fixtures below."""
    return Servers()


@pytest.fixture(scope="session")
def kafka(servers: Servers) -> str:
    """Bootstrap address (host:port) of a running Kafka."""
    return servers.need("kafka").kafka


@pytest.fixture(scope="session")
def s3(servers: Servers) -> Minio:
    """A client of a running MinIO."""
    return s3_client(servers.need("minio"))


@pytest.fixture(scope="session")
def milvus(servers: Servers) -> str:
    """URI of a running Milvus."""
    return servers.need("milvus").milvus


@pytest.fixture(scope="session")
def all_servers(servers: Servers) -> Addresses:
    """Addresses of all four servers, running (they start side by side)."""
    return servers.need(*SERVERS)


@pytest.fixture
def unique_name() -> str:
    """A name of this test's own that every server takes (letters and digits, begins with `t`)."""
    return f"t{secrets.token_hex(6)}"


@pytest.fixture
def topic_prefix(kafka: str, unique_name: str) -> Iterator[str]:
    """A topic prefix of this test's own; its topics and groups are deleted after it."""
    prefix = f"{unique_name}."
    yield prefix
    in_own_loop(delete_topics(kafka, prefix))


@pytest.fixture
def bucket(s3: Minio, unique_name: str) -> Iterator[str]:
    """An empty bucket of this test's own."""
    s3.make_bucket(unique_name)
    yield unique_name
    remove_bucket(s3, unique_name)


@contextlib.contextmanager
def made_database(servers: Servers, server: DatabaseName, name: str) -> Iterator[str]:
    """SQLAlchemy URL of an empty database, which is dropped after the block."""
    addresses = servers.need(server)
    in_own_loop(run_sql(addresses.database, f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    yield addresses.database_url(name)
    in_own_loop(run_sql(addresses.database, f"DROP DATABASE {name}"))


@pytest.fixture
def mariadb_url(servers: Servers, unique_name: str) -> Iterator[str]:
    """SQLAlchemy URL of an empty MariaDB database of this test's own."""
    with made_database(servers, "mariadb", unique_name) as url:
        yield url


@pytest.fixture
def mysql_url(servers: Servers, unique_name: str) -> Iterator[str]:
    """SQLAlchemy URL of an empty MySQL database of this test's own."""
    with made_database(servers, "mysql", unique_name) as url:
        yield url


@pytest.fixture
def milvus_alias(milvus: str, unique_name: str) -> Iterator[str]:
    """A Milvus alias (and prefix of collections) of this test's own; its collections are dropped after it."""
    yield unique_name
    drop_collections(milvus, unique_name)


@contextlib.contextmanager
def claimed_route(servers: Servers) -> Iterator[EventRoute]:
    """A MinIO notification target, and the topic prefix that it announces to, claimed while the block runs."""
    addresses = servers.need("kafka", "minio")
    claims = servers.claims_folder()
    for route in TEST_ROUTES:
        with (claims / route.topic_prefix).open("a") as claim:
            if _claimed(claim):
                try:
                    yield route
                finally:
                    in_own_loop(delete_topics(addresses.kafka, route.topic_prefix))
                return
    raise ServerError(f"all {len(TEST_ROUTES)} notification targets are in use by other tests")


@pytest.fixture
def event_route(servers: Servers) -> Iterator[EventRoute]:
    """A MinIO notification target, and the topic prefix that it announces to, claimed for this test alone."""
    with claimed_route(servers) as route:
        yield route


@pytest.fixture
def twinlens_env(
    all_servers: Addresses, bucket: str, mariadb_url: str, milvus_alias: str, event_route: EventRoute
) -> dict[str, str]:
    """The `TWINLENS_*` variables of an installation of this test's own on the real servers."""
    return twinlens_environment(
        all_servers, bucket=bucket, database_url=mariadb_url, route=event_route, alias=milvus_alias
    )


@pytest.fixture(scope="session")
def mortal_stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """The stack of `private_stack`, in whatever state the last test left it."""
    stack = Stack(tmp_path_factory.mktemp("stack"), short_lived=True)
    pytestconfig.stash[PRIVATE] = stack
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def private_stack(mortal_stack: Stack) -> Stack:
    """Four running servers that no other process of the run uses, to be killed and started again at will."""
    mortal_stack.start()
    return mortal_stack


def _fixtures(item: pytest.Item) -> Sequence[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else ()


def _claimed(claim: TextIO) -> bool:
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
