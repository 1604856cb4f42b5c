"""What searching costs: over HTTP against the sum of its parts, with many clients, and beside clients that misbehave.

    python -m bench.queries FOLDER [--pictures 1000] [--requests 300] [--json FILE]

Starts MinIO, MariaDB and Milvus (the recipes of the tests), indexes pictures of the folder with the real model, and
runs `twinlens api` on them. The parts (decode, embed, Milvus, SQL) are measured bare in this process, with the same
pictures, in the same run. The clients share the machine with the service; what they cost is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from imaging.decoding import decode
from imaging.digest import digest_of
from imaging.embedding import OnnxEmbedder
from imaging.limits import DecodeLimits
from imaging.model_spec import load_spec
from ops.copies import TRANSFORMS
from schemas.records import ObjectRef
from schemas.settings import Settings
from stores.catalog.engine import create_engine
from stores.catalog.reading.ports import ImageFilter
from stores.catalog.reading.sql import SqlCatalogReader
from stores.vectors.milvus import MilvusVectors
from tests.integration.query_service import Installation, Service, installation, service
from tests.stack.stack import Stack

CLIENTS = (1, 8, 64)
STALLED = 200
_COPY = "jpeg-10"
_NEAREST = 37


@dataclass(frozen=True)
class Timing:
    """Milliseconds of requests, and how many a second were answered."""

    what: str
    requests: int
    failed: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    per_second: float


def _timing(what: str, times: Sequence[float], failed: int, seconds: float) -> Timing:
    ordered = sorted(times) or [float("nan")]

    def at(share: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    return Timing(what, len(times), failed, at(0.5), at(0.95), at(0.99), round(len(times) / seconds, 1))


async def _load(what: str, send: Callable[[int], Awaitable[httpx.Response]], *, clients: int, requests: int) -> Timing:
    """``requests`` requests by so many clients, each of which sends its next one when it has its answer."""
    times: list[float] = []
    failed = 0
    numbers = iter(range(requests))

    async def client() -> None:
        nonlocal failed
        for number in numbers:
            begun = time.perf_counter()
            answer = await send(number)
            if answer.is_success:
                times.append(time.perf_counter() - begun)
            else:
                failed += 1

    begun = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(clients)])
    return _timing(what, times, failed, time.perf_counter() - begun)


async def _parts(library: Installation, queries: Sequence[bytes]) -> dict[str, float]:
    """Median milliseconds of each part of a search, bare."""
    settings = Settings.model_validate(
        {
            "database": {"url": library.environment["TWINLENS_DATABASE__URL"]},
            "vectors": {
                "uri": library.environment["TWINLENS_VECTORS__URI"],
                "alias": library.environment["TWINLENS_VECTORS__ALIAS"],
            },
        }
    )
    embedder = OnnxEmbedder(load_spec("sscd"), threads=settings.model.threads)
    vectors = MilvusVectors(settings.vectors)
    catalog = SqlCatalogReader(create_engine(settings.database))
    await vectors.check()
    await catalog.check()
    times: dict[str, list[float]] = {}

    def lap(part: str, begun: float) -> float:
        now = time.perf_counter()
        times.setdefault(part, []).append(now - begun)
        return now

    for data in queries:
        start = begun = time.perf_counter()
        pixels, digest = decode(data, DecodeLimits(), embedder.pixel_spec).pixels, digest_of(data)
        begun = lap("decode", begun)
        [vector] = embedder.embed([pixels])
        begun = lap("embed", begun)
        [hits] = await vectors.search([vector], limit=_NEAREST)
        begun = lap("vectors", begun)
        await catalog.by_sha256([digest.sha256], ImageFilter())
        await catalog.by_vector([hit.vector_id for hit in hits], ImageFilter())
        lap("sql", begun)
        times.setdefault("sum", []).append(time.perf_counter() - start)
    await vectors.close()
    await catalog.close()
    return {part: round(1000 * statistics.median(spent), 2) for part, spent in times.items()}


async def _stalled(stack: AsyncExitStack, api: Service) -> None:
    """Clients that begin an upload and send nothing more, all from one address, which is not that of the others."""
    host, port = api.host_and_port
    headers = ("Host: x", "X-Forwarded-For: 192.0.2.7", "Content-Type: image/png", "Content-Length: 1000000")
    lines = ("POST /v1/search HTTP/1.1", *headers, "", "x")
    for _ in range(STALLED):
        _, writer = await asyncio.open_connection(host, port)
        stack.callback(writer.close)
        writer.write("\r\n".join(lines).encode())
        await writer.drain()


async def _measure(api: Service, library: Installation, queries: Sequence[bytes], requests: int) -> list[Timing]:
    ids = [ObjectRef(library.bucket, key).image_id for key in library.pictures]
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=128)
    async with httpx.AsyncClient(base_url=api.url, timeout=120, limits=limits) as client:

        def upload(number: int) -> Awaitable[httpx.Response]:
            return client.post("/v1/search", files={"file": ("q.jpg", queries[number % len(queries)])})

        def by_id(number: int) -> Awaitable[httpx.Response]:
            return client.get(f"/v1/images/{ids[number % len(ids)]}/similar?exclude_exact=false")

        await _load("warm-up", upload, clients=2, requests=20)
        results = [
            await _load(f"upload, {clients} clients", upload, clients=clients, requests=requests) for clients in CLIENTS
        ]
        results += [
            await _load(f"by id, {clients} clients", by_id, clients=clients, requests=requests) for clients in CLIENTS
        ]
        results += await _beside_others(api, client, by_id, requests)
    return results


async def _beside_others(
    api: Service, client: httpx.AsyncClient, by_id: Callable[[int], Awaitable[httpx.Response]], requests: int
) -> list[Timing]:
    """Searches by id while others stall, and while others send what must be refused."""
    results = []
    async with AsyncExitStack() as stack:
        await _stalled(stack, api)
        results.append(await _load(f"by id, 4 clients, beside {STALLED} stalled", by_id, clients=4, requests=requests))
    oversized = b"\xff\xd8\xff" + bytes(26 * 1024 * 1024)

    async def hostile() -> None:
        while True:
            await client.post("/v1/search", files={"file": oversized})

    attackers = [asyncio.create_task(hostile()) for _ in range(4)]
    results.append(await _load("by id, 4 clients, beside 4 with 26 MB", by_id, clients=4, requests=requests))
    for attacker in attackers:
        attacker.cancel()
    await asyncio.gather(*attackers, return_exceptions=True)
    return results


def _pictures(folder: Path, count: int) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths[:count]}


def _copies(pictures: Mapping[str, bytes], count: int) -> Iterator[bytes]:
    for data in list(pictures.values())[:count]:
        yield TRANSFORMS[_COPY](data)


def measure(folder: Path, *, pictures: int, requests: int) -> dict[str, Any]:
    """All figures of one run."""
    chosen = _pictures(folder, pictures)
    queries = list(_copies(chosen, 100))
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as name:
        stack = Stack(Path(name) / "stack")
        try:
            stack.start("minio", "mariadb", "milvus")
            with (
                installation(stack.addresses, chosen) as library,
                service(library.environment, Path(name) / "logs") as api,
            ):
                parts = asyncio.run(_parts(library, queries))
                timings = asyncio.run(_measure(api, library, queries, requests))
                return {
                    "pictures": len(chosen),
                    "parts_ms": parts,
                    "timings": [vars(timing) for timing in timings],
                    "resident_mb": round(api.resident_bytes() / 1e6),
                }
        finally:
            stack.stop()


def _print(figures: Mapping[str, Any]) -> None:
    console = Console()
    parts = Table(title=f"The parts of a search among {figures['pictures']} pictures, bare, median ms")
    for part in figures["parts_ms"]:
        parts.add_column(part, justify="right")
    parts.add_row(*[f"{spent:.1f}" for spent in figures["parts_ms"].values()])
    console.print(parts)
    table = Table("over HTTP", title="Searches")
    names = ("requests", "failed", "median_ms", "p95_ms", "p99_ms", "per_second")
    for name in names:
        table.add_column(name, justify="right")
    for timing in figures["timings"]:
        table.add_row(timing["what"], *[str(timing[name]) for name in names])
    console.print(table)
    console.print(f"The service holds {figures['resident_mb']} MB.")


def main() -> None:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photographs to index and to search with")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = measure(arguments.folder, pictures=arguments.pictures, requests=arguments.requests)
    _print(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
