"""docs/api.md: its lines run, and it names every route, error and metric."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from query_api import errors
from query_api.app import create_app
from query_api.errors import RequestProblem
from query_api.metrics import Metrics
from schemas.settings import Settings
from tests.harness.library import Library, picture
from tests.harness.stack.process import free_port

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
WRITTEN_URL = "http://127.0.0.1:6200"
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


class _Server:
    """The service on a small library, in a thread with a loop of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)

    async def _serve(self) -> None:
        library = Library()
        await library.open()
        await library.add("holiday/beach.jpg", picture(1, kind="JPEG"), external_id="beach-1")
        await library.add("holiday/again.jpg", picture(1, kind="JPEG"))
        await library.add("holiday/smaller.jpg", picture(1, kind="JPEG", quality=50))
        await library.add("other.jpg", picture(2, kind="JPEG"))
        config = uvicorn.Config(
            create_app(Settings(), library.ports), port=self.port, log_config=None, access_log=False
        )
        self._server = uvicorn.Server(config)
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        self._ready.set()
        await serving
        await library.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where the service answers."""
    server = _Server()
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.mark.parametrize(("language", "code"), BLOCKS, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(BLOCKS)])
def test_every_line_runs(url: str, tmp_path: Path, language: str, code: str) -> None:
    """Each block of shell or Python lines succeeds against a service with the pictures that it speaks of."""
    (tmp_path / "beach.jpg").write_bytes(picture(1, kind="JPEG"))
    (tmp_path / "other.jpg").write_bytes(picture(2, kind="JPEG"))
    code = code.replace(WRITTEN_URL, url)
    command = [sys.executable, "-c", code] if language == "python" else [shutil.which("bash") or "bash", "-euc", code]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout or (tmp_path / "saved.jpg").exists()


def _codes(kind: type[RequestProblem]) -> set[str]:
    own = {kind.code} if "code" in kind.__dict__ else set()
    return own.union(*[_codes(each) for each in kind.__subclasses__()])


def test_every_error_is_documented() -> None:
    """The table of errors has every code, with its status."""
    assert errors.__doc__
    for kind in RequestProblem.__subclasses__():
        assert re.search(rf"^\| `{kind.code}` \| {kind.status} \|", TEXT, re.MULTILINE), kind.code
    assert len(_codes(RequestProblem)) > 15


def test_every_metric_is_documented() -> None:
    """The table of metrics has every metric, under the name that it is scraped by."""
    for metric in Metrics().registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        assert f"| `{name}` |" in TEXT, name


async def test_every_route_is_documented() -> None:
    """Each path of the API's description appears."""
    library = Library()
    paths = create_app(Settings(), library.ports).openapi()["paths"]
    assert [path for path in paths if path not in TEXT] == []
    await library.close()
