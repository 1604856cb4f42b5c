"""Child processes: started, watched over, started again and ended without remains."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.embedded.errors import StackError
from ops.embedded.process import Process, Program
from ops.embedded.supervisor import supervise
from schemas.task_groups import run_with_background
from tests.harness.waiting import until

FOR_EVER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
WITH_CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], stdout=subprocess.DEVNULL)
print(child.pid, "up", flush=True)
child.wait()
"""
OWNER = """
import asyncio, sys
from pathlib import Path
from ops.embedded.process import Process, Program
async def yes(): return True
async def main():
    process = Process(Program("child", [sys.executable, "-c", sys.argv[2]], Path(sys.argv[1]), yes))
    process.launch()
    print(process.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def text_of(log: Path) -> str:
    """What a log holds by now."""
    return log.read_text() if log.exists() else ""


def program(code: str, log: Path, *, stop_s: float = 10, start_s: float = 30, name: str = "child") -> Program:
    """A Python program that is ready once it has printed "up"."""

    async def printed() -> bool:
        return "up" in text_of(log)

    return Program(name, [sys.executable, "-c", code], log, printed, start_s=start_s, stop_s=stop_s)


@pytest.fixture
async def started() -> AsyncIterator[list[Process]]:
    """Processes to be ended after the test."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        await process.stop()


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> None:
    """Wait until the process has ended."""

    async def look() -> bool:
        return not is_alive(pid)

    await until(look, bool, seconds=30)


async def test_a_process_is_waited_for(tmp_path: Path, started: list[Process]) -> None:
    """It counts as ready when its probe says so, and its output goes to its log."""
    process = Process(program(FOR_EVER, tmp_path / "log"))
    started.append(process)
    process.launch()
    await process.wait_ready()
    assert process.pid is not None
    assert (tmp_path / "log").read_text() == "up\n"


async def test_one_that_ends_while_starting_is_told_with_its_log(tmp_path: Path, started: list[Process]) -> None:
    """The reason is in the message, not only in a file."""
    process = Process(program("print('no such disk'); raise SystemExit(3)", tmp_path / "log"))
    started.append(process)
    process.launch()
    with pytest.raises(StackError, match=r"(?s)child ended \(exit code 3\).*no such disk"):
        await process.wait_ready()


async def test_one_that_never_gets_ready_is_told(tmp_path: Path, started: list[Process]) -> None:
    """Nobody waits for ever."""
    process = Process(program("import time; time.sleep(600)", tmp_path / "log", start_s=0.3))
    started.append(process)
    process.launch()
    with pytest.raises(StackError, match="isn't ready after"):
        await process.wait_ready()


async def test_a_stubborn_process_and_its_children_are_killed(tmp_path: Path, started: list[Process]) -> None:
    """Who does not heed SIGTERM gets SIGKILL, as a whole group."""
    process = Process(program(WITH_CHILD, tmp_path / "log", stop_s=0.5))
    started.append(process)
    process.launch()
    await process.wait_ready()
    child = int((tmp_path / "log").read_text().split()[-2])
    await process.stop()
    await gone(child)
    assert process.pid is None


@pytest.mark.slow
async def test_children_end_with_a_killed_owner(tmp_path: Path) -> None:
    """After `kill -9` of the owner nothing of it runs on, not even what heeds no SIGTERM."""
    arguments = [sys.executable, "-c", OWNER, str(tmp_path / "log"), STUBBORN]
    owner = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    assert owner.stdout is not None
    child = int(await owner.stdout.readline())
    assert is_alive(child)
    owner.kill()
    await owner.wait()
    await gone(child)


async def ended_by(process: Process, number: signal.Signals) -> None:
    """Kill it, and wait until it was started again."""
    before = process.pid
    assert before is not None
    os.kill(before, number)

    async def pid() -> int | None:
        return process.pid

    await until(pid, lambda now: now not in (None, before), seconds=30)


async def test_a_killed_process_is_started_again(tmp_path: Path, started: list[Process]) -> None:
    """A signal says nothing against another try."""
    process = Process(program(FOR_EVER, tmp_path / "log"))
    started.append(process)
    process.launch()
    said: list[str] = []
    await run_with_background(
        ended_by(process, signal.SIGKILL),
        supervise([process], said.append, irreplaceable=(), first_wait_s=0.01),
    )
    assert said == ["child ended (signal SIGKILL); starting it again in 0 s"]


@pytest.mark.parametrize(
    ("code", "irreplaceable", "restarts"),
    [(75, (), 5), (75, ("child",), 0), (70, (), 0), (0, (), 0)],
)
async def test_what_can_not_go_on_ends_the_stack(
    tmp_path: Path, started: list[Process], code: int, irreplaceable: tuple[str, ...], restarts: int
) -> None:
    """An outage is tried again a few times; a bug, and the end of what can't be replaced, are told at once."""
    process = Process(program(f"print('last words'); raise SystemExit({code})", tmp_path / "log"))
    started.append(process)
    process.launch()
    said: list[str] = []
    with pytest.raises(StackError, match=rf"(?s)child ended \(exit code {code}\).*last words"):
        await supervise([process], said.append, irreplaceable=irreplaceable, first_wait_s=0.001)
    assert len(said) == restarts
