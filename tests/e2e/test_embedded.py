"""The embedded stack as it is: `twinlens up`, with every process real, on both object stores."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.copies import TRANSFORMS
from ops.embedded.folder import DataFolder
from ops.embedded.programs import minio
from ops.gallery import make_gallery
from tests.stack.install import minio_program

TWINLENS = [sys.executable, "-m", "ops.cli"]
REPOSITORY = Path(__file__).parents[2]
PICTURES = 24
START_S = 300


class Up:
    """A `twinlens up` on a data folder."""

    def __init__(self, data: Path, *options: str | Path, settings: Mapping[str, str] | None = None) -> None:
        self.data = data
        self.log = data.with_suffix(".out")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TWINLENS_")}
        environment |= {"PYTHONPATH": str(REPOSITORY), "TWINLENS_MODEL__THREADS": "1"}
        environment |= settings or {}
        if "TWINLENS_CACHE" in os.environ:
            environment["TWINLENS_CACHE"] = os.environ["TWINLENS_CACHE"]
        self.environment = environment
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*TWINLENS, "up", "--data", data, "--port", "0", *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=data.parent,
            )

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Another command, from another terminal."""
        command = [*TWINLENS, *map(str, arguments), "--data", str(self.data)]
        return subprocess.run(
            command,
            env=self.environment,
            cwd=self.data.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(START_S)

    def until[T](self, attempt: Callable[[], T | None], *, seconds: float = 240) -> T:
        """The first answer that is something; fails at the deadline, or when the stack ends before."""
        deadline = time.monotonic() + seconds
        while True:
            found = attempt()
            if found:
                return found
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def started(self, report: Path) -> dict[str, Any]:
        """Wait until it is up; the report."""

        def look() -> dict[str, Any] | None:
            done = "Ctrl-C stops everything" in self.log.read_text()
            return json.loads(report.read_text()) if done else None

        return self.until(look, seconds=START_S)

    def children(self) -> list[int]:
        """The ids of the processes that it started."""
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in listed.stdout.split()]

    def child(self, text: str) -> int:
        """The id of the one whose command line holds the text."""
        [found] = [pid for pid in self.children() if text in _command_line(pid)]
        return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""


def _wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 90
    while any(_command_line(pid) for pid in pids):
        assert time.monotonic() < deadline, [_command_line(pid) for pid in pids]
        time.sleep(0.1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few painted pictures."""
    folder = tmp_path_factory.mktemp("photos")
    make_gallery(folder, PICTURES)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module", params=["folder", "minio"])
def up(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running stack, with the report beside its data."""
    if request.param == "minio" and minio() is None:
        minio_program()
    data = tmp_path_factory.mktemp(request.param) / "data"
    stack = Up(data, "--photos", photos, "--objects", request.param, "--report", data.with_suffix(".json"))
    try:
        yield stack
    finally:
        stack.process.send_signal(signal.SIGTERM)
        stack.ended()


@pytest.fixture(scope="module")
def report(up: Up) -> dict[str, Any]:
    """The figures of the first start."""
    return up.started(up.data.with_suffix(".json"))


def first_key(api: str, picture: bytes) -> str | None:
    """The key of the first hit."""
    headers = {"Content-Type": "application/octet-stream"}
    answer = httpx.post(f"{api}/v1/search", content=picture, headers=headers, timeout=60)
    answer.raise_for_status()
    results = answer.json()["results"]
    return str(results[0]["image"]["key"]) if results else None


def test_it_fills_itself_and_proves_it(report: dict[str, Any]) -> None:
    """All pictures are searchable, copies find them, and what is no picture was left out."""
    assert (report["objects"], report["contents"], report["indexed"]) == (PICTURES, PICTURES, PICTURES)
    assert report["recall_at_1"] >= 0.98
    assert report["seconds"] > 0
    assert httpx.get(f"{report['api']}/readyz").status_code == httpx.codes.OK


def test_pictures_can_be_added_and_found_in_the_terminal(up: Up, report: dict[str, Any], tmp_path: Path) -> None:
    """`add` and `search` find the running stack by themselves; odd names are no obstacle."""
    [new] = make_gallery(tmp_path / "new", 1, seed=7)
    odd = new.rename(new.with_name("a b+ü%🦊" + new.suffix))
    added = up.run("add", tmp_path / "new", "--prefix", "mine/")
    assert added.returncode == 0, added.stderr
    assert "1 added" in added.stderr
    again = up.run("add", tmp_path / "new", "--prefix", "mine/")
    assert "0 added, 1 there already" in again.stderr
    key = f"mine/{odd.name}"
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(TRANSFORMS["mirrored"](odd.read_bytes()))
    up.until(lambda: first_key(report["api"], copy.read_bytes()) == key)
    found = up.run("search", copy, "--limit", "1", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["results"][0]["image"]["key"] == key
    assert "copy" in up.run("search", copy).stdout


def test_killed_workers_come_back_with_nothing_lost(up: Up, report: dict[str, Any], tmp_path: Path) -> None:
    """After `kill -9` of both, what was added meanwhile is indexed."""
    for text in ("worker index", "worker ingest"):
        os.kill(up.child(text), signal.SIGKILL)
    [new] = make_gallery(tmp_path / "new", 1, seed=8)
    assert up.run("add", new, "--prefix", "later/").returncode == 0
    up.until(lambda: first_key(report["api"], new.read_bytes()) == f"later/{new.name}")


def test_a_second_one_on_the_same_folder_is_refused(up: Up, report: dict[str, Any]) -> None:
    """It says why, and the first one goes on."""
    second = Up(up.data)
    assert second.ended() == 1
    assert "another `twinlens up` runs on" in second.log.read_text()
    assert httpx.get(f"{report['api']}/healthz").status_code == httpx.codes.OK


def test_the_next_start_embeds_nothing_and_sees_what_changed(
    up: Up, report: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    """SIGTERM stops everything; then `--once` finds all there, and what came and went in the folder meanwhile."""
    folder = Path(report["drop_into"])
    pids = up.children()
    assert len(pids) >= 5
    up.process.send_signal(signal.SIGTERM)
    assert up.ended() == 0
    _wait_until_gone(pids)
    kind, came = "minio", 0
    if folder.is_dir():
        [new] = make_gallery(tmp_path / "new", 1, seed=9)
        shutil.copy(new, folder / f"came-{new.name}")
        shutil.rmtree(folder / "later")
        kind, came = "folder", 1
    again = Up(up.data, "--photos", photos, "--objects", kind, "--once", "--report", tmp_path / "report.json")
    assert again.ended() == 0, again.log.read_text()
    second = json.loads((tmp_path / "report.json").read_text())
    assert second["objects"] == second["indexed"] == PICTURES + 2
    assert f"0 pictures dropped, {PICTURES} were there already" in again.log.read_text()
    embedded = [line for line in (up.data / "logs/index.log").read_text().splitlines() if '"indexed"' in line]
    assert len(embedded) == came


def test_nothing_survives_a_killed_up(photos: Path, tmp_path: Path) -> None:
    """After `kill -9` of the command all that it started ends, and the folder is free."""
    stack = Up(tmp_path / "data", "--photos", photos, "--objects", "folder")
    stack.until(lambda: len(stack.children()) >= 5)
    pids = stack.children()
    stack.process.kill()
    stack.process.wait()
    _wait_until_gone(pids)
    with DataFolder(stack.data).held():
        pass
