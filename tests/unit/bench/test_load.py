"""The clients that make load, and what they send."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from bench import plots
from bench.figures import Figure, Result
from bench.load import load
from bench.parts import Laps
from bench.searching import on_the_wire

BODY = b"x" * 100_000


@asynccontextmanager
async def answering(*statuses: str) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that gives these answers in turn, with a body larger than one read; its port, and the request lines."""
    lines: list[bytes] = []
    answers = itertools.cycle(statuses)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError), contextlib.closing(writer):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines.append(head.partition(b"\r\n")[0])
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(f"HTTP/1.1 {next(answers)}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], lines


def _requests() -> list[bytes]:
    upload = httpx.Request("POST", "http://h:1/v1/search?limit=3", files={"file": ("q.jpg", BODY)})
    return [on_the_wire(upload), on_the_wire(httpx.Request("GET", "http://h:1/v1/images?limit=50"))]


async def test_every_client_sends_its_next_request_when_it_has_its_answer() -> None:
    """Requests go out whole and in turn over kept connections, and each answer is timed."""
    async with answering("200 OK") as (port, lines):
        found = await load("127.0.0.1", port, _requests(), clients=3, seconds=0.3)
    assert found.failed == 0
    assert len(found.milliseconds) == len(lines) > 6
    assert set(lines) == {b"POST /v1/search?limit=3 HTTP/1.1", b"GET /v1/images?limit=50 HTTP/1.1"}
    assert found.per_second == pytest.approx(len(lines) / found.seconds)


async def test_an_answer_that_is_no_success_counts_as_failed() -> None:
    """A service that sheds its load is not fast."""
    async with answering("200 OK", "503 Service Unavailable") as (port, _):
        found = await load("127.0.0.1", port, _requests(), clients=1, seconds=0.3)
    assert abs(2 * found.failed - len(found.milliseconds)) <= 1
    assert found.failed > 0


async def test_an_answer_without_a_length_is_refused() -> None:
    """It can't be told where such an answer ends, and guessing would time something else."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="without a length")):
            await load("127.0.0.1", port, _requests(), clients=1, seconds=0.3)


def test_the_sum_is_that_of_one_piece() -> None:
    """The median of the sums is given, not the sum of the medians, which belong to different pieces."""
    laps = Laps({"decode": [1.0, 1.0, 9.0], "embed": [5.0, 1.0, 1.0]})
    assert laps.medians() == {"decode": 1.0, "embed": 1.0, "sum": 6.0}


def test_only_what_was_measured_is_drawn(tmp_path: Path) -> None:
    """Files appear for the measurements that were made, and hold SVG."""
    rate = Figure("answers a second", 20, "", of="upload, 8")
    results = [Result("freshness", [], {"seconds": [0.2, 0.4]}), Result("queries", [rate])]
    drawn = plots.draw(results, tmp_path / "plots")
    assert [path.name for path in drawn] == ["freshness.svg", "queries.svg"]
    assert all("<svg" in path.read_text(encoding="utf-8") for path in drawn)
