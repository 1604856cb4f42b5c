"""Searches by id beside clients that misbehave, and beside many open status pages."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import httpx

from bench.bench import Bench
from bench.figures import Figure, quantile
from bench.searching import KEY, Requests, details, timed

STALLED = 200
ATTACKERS = 4
STATUS_PAGES = 50
STATUS_EVERY_S = 3.0
STATUS_ASKS = (
    "/v1/stats",
    "/v1/stats/throughput?minutes=60",
    "/v1/stats/rejections",
    "/v1/images?state=pending&limit=8&order=oldest",
    "/v1/images?state=rejected&limit=8",
)
"""What query_api/web/js/views/status.js asks for."""
TURNS = 3
_SOME, _MORE = 4, 8
"""How many clients search meanwhile."""

type Others = Callable[[Requests], AbstractAsyncContextManager[None]]


def searches_beside(bench: Bench, requests: Requests) -> Iterator[Figure]:
    """Latencies beside those who hold connections or send what is too large; ratios beside the others."""
    yield from asyncio.run(_latencies("stalled", _stalled, bench, requests))
    yield from asyncio.run(_latencies("26 MB", _attacked, bench, requests))
    yield asyncio.run(_ratio("status_pages", _watched, bench, requests, requests.folders["id"]))
    with bench.installation.asking_for_keys({"bench": hashlib.sha256(KEY.encode()).hexdigest()}):
        yield asyncio.run(_ratio("hostile", _hostile, bench, requests, requests.by_id_with_key))
        yield asyncio.run(_ratio("hostile_elsewhere", _hostile_elsewhere, bench, requests, requests.by_id_with_key))


async def _latencies(name: str, others: Others, bench: Bench, requests: Requests) -> list[Figure]:
    """What the searches of 4 clients take beside others."""
    async with others(requests):
        spent = await timed(bench.installation.running, requests, requests.folders["id"], _SOME, bench.scale.load_s)
    return list(details(f"id, {_SOME} beside {name}", spent))


async def _ratio(name: str, others: Others, bench: Bench, requests: Requests, folder: Path) -> Figure:
    """How much longer the slowest searches of 8 clients take beside others than alone, in turns."""
    running, seconds = bench.installation.running, bench.scale.load_s / TURNS
    alone, beside = [], []
    for _ in range(TURNS):
        alone.append(await timed(running, requests, folder, _MORE, seconds))
        async with others(requests):
            beside.append(await timed(running, requests, folder, _MORE, seconds))
    without, with_others = (
        quantile([ms for found, _ in turns for ms in found.milliseconds], 0.99) for turns in (alone, beside)
    )
    return Figure(f"{name}_p99", with_others / without, "")


@asynccontextmanager
async def _stalled(requests: Requests) -> AsyncIterator[None]:
    """Clients that begin an upload and send nothing more, all from one address, which is not that of the others."""
    headers = ("Host: x", "X-Forwarded-For: 192.0.2.7", "Content-Type: image/png", "Content-Length: 1000000")
    lines = ("POST /v1/search HTTP/1.1", *headers, "", "x")
    writers = []
    try:
        for _ in range(STALLED):
            _, writer = await asyncio.open_connection(*requests.address)
            writers.append(writer)
            writer.write("\r\n".join(lines).encode())
            await writer.drain()
        yield
    finally:
        for writer in writers:
            writer.close()


@asynccontextmanager
async def _hostile(requests: Requests) -> AsyncIterator[None]:
    """Clients that mean no good and have no key."""
    async with _attacking(*requests.address):
        yield


@asynccontextmanager
async def _hostile_elsewhere(_requests: Requests) -> AsyncIterator[None]:
    """The same, but at a server that refuses all: what they cost the machine that the service shares with them."""
    server = await asyncio.start_server(_refuse, "127.0.0.1", 0)
    async with server, _attacking(*server.sockets[0].getsockname()):
        yield


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while await reader.read(65536):
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
    writer.close()


@asynccontextmanager
async def _attacking(host: str, port: int) -> AsyncIterator[None]:
    """The clients of tests/integration/test_hostile_clients.py, at an address."""
    attacking = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.harness.hostile_clients", host, str(port)
    )
    try:
        yield
    finally:
        attacking.kill()
        await attacking.wait()


@asynccontextmanager
async def _watched(requests: Requests) -> AsyncIterator[None]:
    """Status pages that are open: each asks what the page's script asks, as often as that."""
    async with httpx.AsyncClient(
        base_url=requests.api, timeout=60, limits=httpx.Limits(max_connections=None)
    ) as client:

        async def look(number: int) -> None:
            await asyncio.sleep(STATUS_EVERY_S * number / STATUS_PAGES)
            while True:
                await asyncio.gather(asyncio.sleep(STATUS_EVERY_S), *map(client.get, STATUS_ASKS))

        pages = [asyncio.create_task(look(number)) for number in range(STATUS_PAGES)]
        try:
            yield
        finally:
            for page in pages:
                page.cancel()
            await asyncio.gather(*pages, return_exceptions=True)


@asynccontextmanager
async def _attacked(requests: Requests) -> AsyncIterator[None]:
    """Clients that send, again and again, what has to be refused."""
    oversized = b"\xff\xd8\xff" + bytes(26 * 1024 * 1024)
    async with httpx.AsyncClient(base_url=requests.api, timeout=120) as client:

        async def attack() -> None:
            while True:
                await client.post("/v1/search", files={"file": oversized})

        attackers = [asyncio.create_task(attack()) for _ in range(ATTACKERS)]
        try:
            yield
        finally:
            for attacker in attackers:
                attacker.cancel()
            await asyncio.gather(*attackers, return_exceptions=True)
