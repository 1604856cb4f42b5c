"""The embedded stack as it is: `twinlens up`, with every process real, on both object stores."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.copies import TRANSFORMS
from ops.embedded.folder import DataFolder
from ops.embedded.programs import find_minio
from ops.gallery import make_gallery
from tests.harness.commands import PICTURE, TABLE, undocumented
from tests.harness.stack.install import minio_program
from tests.harness.up import Up, command_line, first_key

PICTURES = 24


def _wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 90
    while any(command_line(pid) for pid in pids):
        assert time.monotonic() < deadline, [command_line(pid) for pid in pids]
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
    if request.param == "minio" and find_minio() is None:
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


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if not row.changes])
def test_every_command_finds_the_stack(up: Up, report: dict[str, Any], photos: Path, name: str) -> None:
    """From another terminal, piped, without a setting: plain text, and JSON with the documented members."""
    assert report["indexed"]
    row, picture = TABLE[name], next(photos.glob("*.jpg"))
    words = [*name.split(), *[str(picture) if word == PICTURE else word for word in row.right]]
    without_data = row.needs is None and name != "models list"
    done = up.run(*words, data=not without_data)
    assert done.returncode in row.codes, done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout
    if row.json:
        told = up.run(*words, "--json", data=not without_data)
        assert told.returncode in row.codes, told.stderr
        assert undocumented(name, told.stdout) == set()


def test_status_says_what_is_wrong(up: Up, report: dict[str, Any]) -> None:
    """Exit code 0 while all of it answers in time, as it comes to do, and 1 while something doesn't."""
    told: list[str] = []

    def well() -> bool:
        status = up.run("status")
        told.append(status.stdout)
        return status.returncode == 0

    assert up.until(well, seconds=60), told
    assert report["api"] in told[-1]
    silent = up.run("status", settings={"TWINLENS_API__PORT": "1"})
    assert silent.returncode == 1
    assert "no answer" in silent.stdout


def test_add_waits_until_all_can_be_found(up: Up, report: dict[str, Any], tmp_path: Path) -> None:
    """And says of what can't, why."""
    assert report["indexed"]
    [good] = make_gallery(tmp_path, 1, seed=11)
    (tmp_path / "broken.jpg").write_bytes(good.read_bytes()[:100])
    added = up.run("add", tmp_path, "--prefix", "waited/", "--wait")
    assert added.returncode == 1, added.stderr
    assert "1 rejected" in added.stderr
    assert "waited/broken.jpg: " in added.stderr
    assert up.run("search", good, "--copies").returncode == 0
    again = json.loads(up.run("add", tmp_path, "--prefix", "waited/", "--wait", "--json").stdout)
    assert (again["added"], [one["key"] for one in again["rejected"]]) == ([], ["waited/broken.jpg"])


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
    assert second.ended() == 2
    assert "another stack runs on" in second.log.read_text()
    assert httpx.get(f"{report['api']}/healthz").status_code == httpx.codes.OK


def test_the_next_start_embeds_nothing_and_sees_what_changed(
    up: Up, report: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    """SIGTERM stops everything; then `--once` finds all in the same store, and what came and went in the folder."""
    folder = Path(report["drop_into"])
    pids = up.children()
    assert len(pids) >= 5
    up.process.send_signal(signal.SIGTERM)
    assert up.ended() == 0
    _wait_until_gone(pids)
    came = 0
    if folder.is_dir():
        [new] = make_gallery(tmp_path / "new", 1, seed=9)
        shutil.copy(new, folder / f"came-{new.name}")
        shutil.rmtree(folder / "later")
        came = 1
    again = Up(up.data, "--photos", photos, "--once", "--report", tmp_path / "report.json")
    assert again.ended() == 0, again.log.read_text()
    second = json.loads((tmp_path / "report.json").read_text())
    assert (second["objects"], second["indexed"]) == (PICTURES + 4, PICTURES + 3)
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
