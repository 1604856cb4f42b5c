"""A process that is forked from a warmed one is like one that was started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.command_line import run
from tests.harness.stack.forking import Forked, fork
from tests.harness.stack.process import Command, ForkedProcess

PROGRAM = "tests.unit.forked_program"
pytestmark = pytest.mark.slow


def begun(log: Path, *arguments: str) -> Forked:
    """The program, forked, once it has said what it found."""
    with log.open("wb") as output:
        forked = fork(PROGRAM, arguments, {**os.environ, "TOLD": "this"}, output)
    until(lambda: log.read_bytes().endswith(b"\n") or forked.poll() is not None)
    return forked


def found(log: Path) -> Any:
    """What it found itself to be."""
    return json.loads(log.read_text(encoding="utf-8"))


def until(met: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    """Whether a process runs, or waits for its parent to take note of its end."""
    return Path(f"/proc/{pid}").exists()


def test_it_has_all_that_a_process_has_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments, environment, folder, session, group, standard files and no others, and the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OURS", "that")
    log = tmp_path / "log"
    forked = begun(log, "a", "b c", "7")
    assert forked.wait(60) == forked.poll() == 7
    told = found(log)
    # The folder is listed by one more.
    assert told.pop("open files") == [0, 1, 2, 3]
    assert 0 <= told.pop("chance") < 1
    assert told == {
        "arguments": ["a", "b c", "7"],
        "told": "this",
        "ours": "that",
        "only in the nursery": None,
        "folder": str(tmp_path),
        "ids": [forked.pid] * 3,
        "stdin": "/dev/null",
        "imported": True,
    }


def test_two_of_them_have_chances_of_their_own(tmp_path: Path) -> None:
    """What one draws at random, another does not draw too."""
    chances = set()
    for number in range(2):
        with (tmp_path / str(number)).open("wb") as output:
            assert fork(PROGRAM, ["0"], os.environ, output).wait_or_kill(60) == 0
        chances.add(found(tmp_path / str(number))["chance"])
    assert len(chances) == 2


def test_errors_go_to_a_file_of_their_own(tmp_path: Path) -> None:
    """What a command prints, and what it complains of."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TWINLENS_")}
    done = run(["search", "nowhere"], environment, folder=tmp_path, seconds=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "there is no file or folder nowhere" in done.stderr
    assert "Usage: " in run(["--help"], environment, folder=None, seconds=60).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_and_is_told(tmp_path: Path, number: signal.Signals) -> None:
    """Its group can be signalled from the moment on that it is returned; the exit code is minus the signal."""
    with (tmp_path / "log").open("wb") as output:
        forked = fork(PROGRAM, ["stay"], os.environ, output)
    os.killpg(forked.pid, number)
    assert forked.wait(60) == -number
    assert not is_there(forked.pid)


def test_waiting_for_one_ends_at_its_time(tmp_path: Path) -> None:
    """`wait` gives up as that of subprocess does; `wait_or_kill` kills what takes longer."""
    forked = begun(tmp_path / "log", "stay")
    with pytest.raises(subprocess.TimeoutExpired):
        forked.wait(0.01)
    assert forked.poll() is None
    os.killpg(forked.pid, signal.SIGKILL)
    with (tmp_path / "killed").open("wb") as output, pytest.raises(subprocess.TimeoutExpired):
        fork(PROGRAM, ["stay"], os.environ, output).wait_or_kill(0.01)


def test_it_is_stopped_and_started_as_a_server_is(tmp_path: Path) -> None:
    """Once more under another process id, into the same log; hung meanwhile, it goes on."""
    command = Command([sys.executable, "-m", PROGRAM, "stay"])
    log, lives = tmp_path / "log", 1
    process = ForkedProcess("it", command, log=log, is_ready=lambda: log.read_bytes().count(b"\n") == lives)
    process.start()
    first = process.pid
    process.hang()
    assert process.pid == first
    process.go_on()
    lives += 1
    process.restart()
    assert process.pid not in {None, first}
    process.kill()
    assert process.pid is None


def test_nursery_and_forked_end_with_who_started_them(tmp_path: Path) -> None:
    """An owner that is killed leaves neither behind."""
    program = f"""
import os, sys, time
from pathlib import Path
from tests.harness.command_line import run
from tests.harness.stack.forking import _nursery
from tests.harness.stack.process import Command, ForkedProcess
process = ForkedProcess("it", Command([sys.executable, "-m", "{PROGRAM}", "stay"]), log=Path(sys.argv[1]),
                        is_ready=lambda: True)
process.start()
print(process.pid, _nursery()._process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    ) as owner:
        try:
            assert owner.stdout is not None
            pids = [int(pid) for pid in owner.stdout.readline().split()]
        finally:
            owner.kill()
    assert len(pids) == 2
    until(lambda: not any(is_there(pid) for pid in pids))
