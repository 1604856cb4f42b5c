"""Traces of a real process: switched on by a setting, named in its logs, and harmless without a collector."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_PROGRAM = """
from ops.commands.processes import begin_tracing, settings_and_logs
from streams.common import metrics
import structlog
settings = settings_and_logs()
begin_tracing(settings, "index")
with metrics.stage("sql"):
    structlog.get_logger("twinlens").info("within")
structlog.get_logger("twinlens").info("outside")
"""
_WITHOUT_PACKAGES = """
import sys
sys.modules["opentelemetry"] = None
from ops.commands.processes import begin_tracing, settings_and_logs
begin_tracing(settings_and_logs(), "index")
"""
_IMPORTED = """
import sys
from ops.commands.processes import begin_tracing, settings_and_logs
begin_tracing(settings_and_logs(), "index")
print([name for name in sys.modules if name.startswith("opentelemetry.sdk") or name == "ops.tracing"])
"""


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    taken: ClassVar[list[ExportTraceServiceRequest]] = []

    def do_POST(self) -> None:
        """Take a batch of spans."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[str]:
    """The endpoint of a collector."""
    Collector.taken.clear()
    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    server.shutdown()
    thread.join()
    server.server_close()


def run(program: str, endpoint: str) -> subprocess.CompletedProcess[str]:
    """A process with this setting."""
    environment = {**os.environ, "TWINLENS_TRACING__ENDPOINT": endpoint, "TWINLENS_LOG__FORMAT": "json"}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_spans_reach_the_collector_and_logs_name_them(collector: str) -> None:
    """What waits is sent as the process ends; a line within a span names its trace, one outside names none."""
    done = run(_PROGRAM, collector)
    assert done.returncode == 0, done.stderr
    [resource] = [resource for batch in Collector.taken for resource in batch.resource_spans]
    told = {entry.key: entry.value.string_value for entry in resource.resource.attributes}
    assert told["service.name"] == "twinlens-index"
    [span] = resource.scope_spans[0].spans
    lines = {line["event"]: line for line in map(json.loads, done.stderr.splitlines())}
    assert lines["within"]["trace_id"] == span.trace_id.hex()
    assert lines["within"]["span_id"] == span.span_id.hex()
    assert "trace_id" not in lines["outside"]


@pytest.mark.slow
def test_a_process_ends_without_its_collector() -> None:
    """A collector that refuses connections delays the end by seconds, and is told once."""
    began = time.monotonic()
    done = run(_PROGRAM, "http://127.0.0.1:9/v1/traces")
    assert done.returncode == 0
    assert time.monotonic() - began < 60
    assert "within" in done.stderr


def test_without_the_extra_it_says_so() -> None:
    """A setting that can't be followed is refused, with what is missing."""
    done = run(_WITHOUT_PACKAGES, "http://127.0.0.1:9/v1/traces")
    assert done.returncode != 0
    assert "tracing.endpoint needs the extra `tracing`" in done.stderr


def test_off_nothing_of_it_is_loaded() -> None:
    """Without an endpoint no package of OpenTelemetry's SDK is imported."""
    done = run(_IMPORTED, "")
    assert done.stdout.strip() == "[]", done.stderr
