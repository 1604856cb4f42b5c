"""One installation on the real servers for all end-to-end tests: starting it anew for each would take minutes."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from minio import Minio

from ops.gallery import make_gallery
from tests.harness.live import Installed, Live
from tests.harness.stack.cleanup import drop_collections, in_own_loop, remove_bucket, run_sql
from tests.harness.stack.fixtures import Servers, claimed_route
from tests.harness.stack.minio import EventRoute
from tests.harness.stack.settings import twinlens_environment
from tests.harness.stack.stack import SERVERS, Addresses

PICTURES = 120


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures that the project paints itself."""
    return make_gallery(tmp_path_factory.mktemp("gallery"), PICTURES)


@pytest.fixture(scope="session")
def live(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Both workers and the query service, running, with the default model."""
    with claimed_route(servers) as route:
        yield from _live(servers.need(*SERVERS), route, tmp_path_factory.mktemp("logs"))


def _live(addresses: Addresses, route: EventRoute, logs: Path) -> Iterator[Live]:
    name = f"e2e{secrets.token_hex(4)}"
    in_own_loop(run_sql(addresses.database, f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    environment = twinlens_environment(
        addresses,
        bucket=name,
        database_url=addresses.database_url(name),
        route=route,
        alias=name,
        more={
            "TWINLENS_LOG__FORMAT": "json",
            "TWINLENS_KAFKA__PARTITIONS": "4",
            "TWINLENS_KAFKA__SESSION_TIMEOUT_S": "6",
            "TWINLENS_SWEEP__INTERVAL_S": "1",
            "TWINLENS_SWEEP__FIRST_WAIT_S": "5",
        },
    )
    live = Live(addresses, environment, logs, forked=False)
    try:
        live.application.start()
        yield live
    finally:
        live.application.stop()
        remove_bucket(live.s3, name)
        drop_collections(addresses.milvus, name)
        in_own_loop(run_sql(addresses.database, f"DROP DATABASE {name}"))


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Installed:
    """The installation that `TWINLENS_TEST_INSTALLATION` describes (JSON; `tests/compose` sets it), else ``live``."""
    described = os.environ.get("TWINLENS_TEST_INSTALLATION")
    if not described:
        found: Installed = request.getfixturevalue("live")
        return found
    at = json.loads(described)
    s3 = Minio(at["s3"], access_key=at["access_key"], secret_key=at["secret_key"], secure=False)
    return Installed(s3, at["bucket"], at["api_url"])


@pytest.fixture
def api(installed: Installed) -> Iterator[httpx.Client]:
    """A client of the query service."""
    with httpx.Client(base_url=installed.api_url, timeout=60) as client:
        yield client
