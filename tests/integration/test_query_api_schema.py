"""schemathesis against the running service: generated requests to every route find nothing undocumented."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.query_service import Service, installation, painted, service
from tests.harness.stack.fixtures import Servers

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance",
)  # fmt: skip
EXAMPLES_PER_ROUTE = 10


@pytest.fixture(scope="module")
def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on a small library, with time enough: the heaviest of requests by the hundred, beside other tests."""
    pictures = painted(tmp_path_factory.mktemp("gallery"), 6)
    with (
        installation(servers.need("minio", "mariadb", "milvus"), pictures, model="sscd_distilled") as library,
        service(
            {**library.environment, "TWINLENS_API__REQUEST_TIMEOUT_S": "300"}, tmp_path_factory.mktemp("api")
        ) as running,
    ):
        yield running


@pytest.mark.timeout(900)
def test_no_route_answers_anything_undocumented(api: Service, tmp_path: Path) -> None:
    """No server error, and no status, type, header or body that the description does not have, on any route."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{api.url}/openapi.json",
            "--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES_PER_ROUTE), "--request-timeout", "300",
            "--generation-database", ":memory:", "--no-color",
        ],
        capture_output=True, text=True, check=False, timeout=850, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Errored" not in done.stdout
