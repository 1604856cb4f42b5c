"""The query service as several processes behind one port."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness.query_service import Installation, Service, installation, painted, service
from tests.harness.stack.fixtures import Servers

WORKERS = 2
_BEGUN_SEARCH = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nx"
_CLIENTS = 40
"""So many connections that it would be odd if one of the workers got none of them."""


@pytest.fixture(scope="module")
def library(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A small library."""
    pictures = painted(tmp_path_factory.mktemp("gallery"), 6)
    with installation(servers.need("minio", "mariadb", "milvus"), pictures) as library:
        yield library


@pytest.fixture
def api(library: Installation, tmp_path: Path) -> Iterator[Service]:
    """The service on it, in two processes."""
    environment = {**library.environment, "TWINLENS_API__WORKERS": str(WORKERS), "TWINLENS_MODEL__THREADS": "1"}
    with service(environment, tmp_path) as running:
        _until(lambda: len(_workers(running)) == WORKERS)
        _until(lambda: len(_answering(running)) == WORKERS)
        yield running


def _until(condition: Callable[[], Any], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.05)


def _supervisor(api: Service) -> int:
    assert api.process.pid is not None
    return api.process.pid


def _workers(api: Service) -> set[int]:
    """The pids of the supervisor's children that are no helpers of multiprocessing."""
    children = Path(f"/proc/{_supervisor(api)}/task/{_supervisor(api)}/children").read_text(encoding="ascii").split()
    return {int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"


def _owner(api: Service, client: socket.socket) -> int:
    """The worker that holds the other end of a client's connection."""
    _, port = api.host_and_port
    ends = f":{port:04X} 0100007F:{client.getsockname()[1]:04X}"
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()
    [inode] = [line.split()[9] for line in lines if ends in line]
    [owner] = [pid for pid in _workers(api) if f"socket:[{inode}]" in _open_files(pid)]
    return owner


def _open_files(pid: int) -> set[str]:
    return {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()}


def _answering(api: Service) -> dict[int, int]:
    """How many of some connections that are open at once each worker answers on."""
    counts: dict[int, int] = {}
    with ExitStack() as stack:
        for _ in range(_CLIENTS):
            client = HTTPConnection(*api.host_and_port, timeout=60)
            stack.callback(client.close)
            client.request("GET", "/v1/images?limit=3")
            answer = client.getresponse()
            assert answer.status == 200
            answer.read()
            owner = _owner(api, client.sock)
            counts[owner] = counts.get(owner, 0) + 1
    return counts


def _listings(api: Service) -> float:
    lines = httpx.get(f"{api.url}/metrics").text.splitlines()
    [line] = [line for line in lines if line.startswith("twinlens_api_requests_total") and '"/v1/images"' in line]
    return float(line.rsplit(" ", 1)[1])


def test_all_workers_answer_and_count_together(api: Service, library: Installation) -> None:
    """Connections reach both processes, either finds what there is, and the metrics of both are told by each."""
    before = _listings(api)
    assert set(_answering(api)) == _workers(api)
    assert {_listings(api) for _ in range(10)} == {before + _CLIENTS}
    data = next(iter(library.pictures.values()))
    for _ in range(8):
        [best, *_] = httpx.post(f"{api.url}/v1/search", files={"file": data}, timeout=60).json()["results"]
        assert best["verdict"] == "exact"


def test_a_worker_that_dies_is_replaced(api: Service) -> None:
    """While a killed worker is replaced the other one answers; its counts stay, what it was doing is forgotten."""
    counted = _listings(api)
    with socket.create_connection(api.host_and_port) as stalled:
        stalled.sendall(_BEGUN_SEARCH)
        _until(lambda: api.metric("twinlens_api_in_flight") == 2)
        victim = _owner(api, stalled)
        survivors = _workers(api) - {victim}
        os.kill(victim, signal.SIGKILL)
        assert stalled.recv(1) == b""
    for _ in range(20):
        assert httpx.get(f"{api.url}/v1/images").status_code == 200
    _until(lambda: len(_answering(api)) == WORKERS)
    assert survivors < _workers(api)
    assert victim not in _workers(api)
    assert _listings(api) >= counted + 20
    assert httpx.get(f"{api.url}/metrics").text.count("\ntwinlens_api_in_flight 1.0\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_supervisor(api: Service, number: signal.Signals) -> None:
    """Asked to end, the service ends as a whole with exit code 0; and a killed supervisor leaves no worker behind."""
    workers = _workers(api)
    os.kill(_supervisor(api), number)
    _until(lambda: not any(_alive(pid) for pid in workers), seconds=60)
    _until(lambda: api.process.pid is None, seconds=60)
    assert api.process.exit_code == (0 if number is signal.SIGTERM else -number)
    with socket.socket() as probe:
        # Past connections may linger; a listener would refuse this all the same.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(api.host_and_port)
