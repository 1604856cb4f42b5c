"""`twinlens up` as a process, and what its API finds."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.harness.command_line import run
from tests.harness.stack.twinlens import AS_MODULE

REPOSITORY = Path(__file__).parents[2]
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
                [*AS_MODULE, "up", "--data", data, "--port", "0", *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=data.parent,
            )

    def run(
        self, *arguments: str | Path, data: bool = True, settings: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Another command, from another terminal; with ``data`` it is told which folder."""
        words = [*map(str, arguments), *(["--data", str(self.data)] if data else [])]
        return run(words, {**self.environment, **(settings or {})}, folder=self.data.parent, seconds=120)

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
        [found] = [pid for pid in self.children() if text in command_line(pid)]
        return found


def command_line(pid: int) -> str:
    """Of a process; nothing once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""


def first_key(api: str, picture: bytes) -> str | None:
    """The key of the first hit."""
    headers = {"Content-Type": "application/octet-stream"}
    answer = httpx.post(f"{api}/v1/search", content=picture, headers=headers, timeout=60)
    answer.raise_for_status()
    results = answer.json()["results"]
    return str(results[0]["image"]["key"]) if results else None
