"""Clients that cost little: they send ready-made HTTP requests over kept connections and read the answers.

    python -m bench.load HOST PORT FOLDER --clients 64 --seconds 8

The folder's files are requests as they go over the wire. Prints the milliseconds of each answer, how many failed, and
the CPU seconds that this process took, as JSON. A process of its own, so that what it takes can be told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MOST_HEADERS = 64 * 1024


@dataclass(slots=True)
class Load:
    """What came back. ``cpu_s``: of the process that asked."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    failed: int = 0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.milliseconds) / self.seconds


async def load(host: str, port: int, requests: list[bytes], *, clients: int, seconds: float) -> Load:
    """So many clients, each of which sends its next request when it has its answer, for so many seconds."""
    found = Load()
    deadline = time.perf_counter() + seconds
    ready_made = itertools.cycle(requests)

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, port, limit=_MOST_HEADERS)
        try:
            for request in _until(deadline, ready_made):
                begun = time.perf_counter()
                writer.write(request)
                status = await _status(reader)
                found.milliseconds.append(round(1000 * (time.perf_counter() - begun), 2))
                found.failed += not 200 <= status < 300
        finally:
            writer.close()

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    found.seconds = time.perf_counter() - begun
    return found


def _until(deadline: float, requests: Iterator[bytes]) -> Iterator[bytes]:
    while time.perf_counter() < deadline:
        yield next(requests)


async def _status(reader: asyncio.StreamReader) -> int:
    """Read one answer whole. Raises ValueError for one whose length isn't told."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if length is None:
        raise ValueError(f"an answer without a length: {head!r}")
    await reader.readexactly(int(length.group(1)))
    return int(head.split(b" ", 2)[1])


async def in_own_process(address: tuple[str, int], folder: Path, *, clients: int, seconds: float) -> Load:
    """The same with the requests of a folder, from another process."""
    host, port = address
    command = [sys.executable, "-m", "bench.load", host, str(port), str(folder)]
    process = await asyncio.create_subprocess_exec(
        *command, "--clients", str(clients), "--seconds", str(seconds), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Load(**json.loads(output))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    requests = [path.read_bytes() for path in sorted(options.folder.iterdir())]
    before = os.times()
    found = uvloop.run(load(options.host, options.port, requests, clients=options.clients, seconds=options.seconds))
    after = os.times()
    found.cpu_s = after.user + after.system - before.user - before.system
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
