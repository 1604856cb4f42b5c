"""The links between Twinlens and the servers, through Toxiproxy, and what can be wrong with them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.chaos.operations import FaultKind
from tests.harness.stack.health import answers_ok
from tests.harness.stack.install import toxiproxy_program
from tests.harness.stack.kafka import Link
from tests.harness.stack.process import Command, ServerProcess, free_port
from tests.harness.stack.stack import Addresses

_TOXICS: Final[Mapping[FaultKind, tuple[str, Mapping[str, int]]]] = {
    FaultKind.SLOW_LINK: ("latency", {"latency": 400, "jitter": 200}),
    FaultKind.CLOGGED_LINK: ("bandwidth", {"rate": 1}),
    FaultKind.DEAD_LINK: ("timeout", {"timeout": 0}),
}
"""Toxiproxy's name for each fault, and its measures: milliseconds, and KB/s."""


class Links:
    """One link to each of the four servers. Kafka names its own address to clients, so it needs a listener for this."""

    def __init__(self, logs: Path) -> None:
        self._port = free_port()
        self._ports = {name: free_port() for name in ("kafka", "objects", "database", "milvus")}
        self.kafka = Link(free_port(), self._ports["kafka"])
        self._logs = logs
        self._process: ServerProcess | None = None

    def start(self, addresses: Addresses) -> Addresses:
        """Open the links to these servers; returns the addresses by which they lead there."""
        self._process = ServerProcess(
            "toxiproxy",
            Command([str(toxiproxy_program()), "-host", "127.0.0.1", "-port", str(self._port)]),
            log=self._logs / "toxiproxy.log",
            is_ready=lambda: answers_ok(f"http://127.0.0.1:{self._port}/version"),
        )
        self._process.start()
        targets = {
            "kafka": f"127.0.0.1:{self.kafka.port}",
            "objects": addresses.s3,
            "database": _host_and_port(addresses.database),
            "milvus": _host_and_port(addresses.milvus),
        }
        ports = self._ports
        for name, target in targets.items():
            self._ask("POST", "/proxies", {"name": name, "listen": f"127.0.0.1:{ports[name]}", "upstream": target})
        return replace(
            addresses,
            kafka=f"127.0.0.1:{ports['kafka']}",
            s3=f"127.0.0.1:{ports['objects']}",
            database=addresses.database.replace(targets["database"], f"127.0.0.1:{ports['database']}"),
            milvus=f"http://127.0.0.1:{ports['milvus']}",
        )

    def stop(self) -> None:
        """Close them."""
        if self._process is not None:
            self._process.stop()

    def harm(self, name: str, kind: FaultKind) -> None:
        """Let the link to a server have the fault, in both directions."""
        toxic, attributes = _TOXICS[kind]
        for stream in ("upstream", "downstream"):
            body = {"name": stream, "type": toxic, "stream": stream, "attributes": attributes}
            self._ask("POST", f"/proxies/{name}/toxics", body)

    def heal(self, name: str) -> None:
        """Let nothing be wrong with it."""
        for stream in ("upstream", "downstream"):
            self._ask("DELETE", f"/proxies/{name}/toxics/{stream}")

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data=data, method=method)
        urllib.request.urlopen(request, timeout=10).close()


def _host_and_port(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
