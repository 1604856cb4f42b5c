"""What searching costs: over HTTP beside the sum of its parts, with many clients, and beside clients that misbehave.

    python -m bench.queries FOLDER [--pictures 1000] [--seconds 8] [--json FILE]

by itself starts an installation and indexes pictures of the folder first. The parts are measured bare, with the same
pictures, in the same run. The clients share the machine with the service; what they cost is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx

from bench import load, report
from bench.backlog import cpu_per_piece
from bench.bench import Bench, Scale
from bench.ceiling import Ceiling
from bench.figures import Figure, Result, quantile
from bench.installation import Choice, installed
from bench.load import Load
from bench.parts import parts
from bench.photographs import Photographs
from bench.running import Running, Spent
from ops.copies import TRANSFORMS
from schemas.records import ObjectRef

CLIENTS = (1, 8, 64)
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
_BESIDE = 4
_COPY = "jpeg-10"

type Timed = tuple[Load, Spent]
type Others = Callable[[_Requests], AbstractAsyncContextManager[None]]


def measure(bench: Bench) -> Result:
    """Searches by upload and by id, and lists; the workers are idle."""
    bench.fill_stock(bench.scale.pictures)
    bench.say("searching and listing with 1, 8 and 64 clients")
    with tempfile.TemporaryDirectory(prefix="twinlens-queries-") as name:
        requests = _Requests(Path(name), bench)
        ceiling = bench.ceiling(requests.pictures)
        return Result("queries", list(asyncio.run(_figures(bench, requests, ceiling))))


class _Requests:
    """Folders of requests as they go over the wire, by kind, and the pictures that are searched for."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        place = bench.installation.running.place
        self.api = place.api
        self.pictures = folder / "pictures"
        self.pictures.mkdir()
        copies = [TRANSFORMS[_COPY](bench.photographs.file(n).read_bytes()) for n in range(bench.scale.queries)]
        for number, copy in enumerate(copies):
            (self.pictures / f"{number:06}.jpg").write_bytes(copy)
        self.images = [ObjectRef(place.bucket, key) for key in bench.stock[: bench.scale.queries]]
        self.folders: Mapping[str, Path] = {
            "upload": self._write(folder / "upload", (self._upload(copy) for copy in copies)),
            "id": self._write(folder / "id", (self._similar(image) for image in self.images)),
            "list": self._write(folder / "list", [httpx.Request("GET", f"{self.api}/v1/images?limit=50")]),
        }

    @property
    def address(self) -> tuple[str, int]:
        """Where the query service listens."""
        url = httpx.URL(self.api)
        return url.host, url.port or 80

    def copies(self) -> list[bytes]:
        """The pictures."""
        return [path.read_bytes() for path in sorted(self.pictures.iterdir())]

    def _upload(self, data: bytes) -> httpx.Request:
        return httpx.Request("POST", f"{self.api}/v1/search", files={"file": ("q.jpg", data)})

    def _similar(self, image: ObjectRef) -> httpx.Request:
        return httpx.Request("GET", f"{self.api}/v1/images/{image.image_id}/similar?exclude_exact=false")

    def _write(self, folder: Path, requests: Iterable[httpx.Request]) -> Path:
        folder.mkdir()
        for number, request in enumerate(requests):
            (folder / f"{number:06}.http").write_bytes(on_the_wire(request))
        return folder


def on_the_wire(request: httpx.Request) -> bytes:
    """A request as HTTP/1.1 sends it."""
    body = request.read()
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % header for header in request.headers.raw]
    return b"\r\n".join([*lines, b"", body])


async def _figures(bench: Bench, requests: _Requests, ceiling: Ceiling) -> list[Figure]:
    running, scale = bench.installation.running, bench.scale
    async with parts(running.place, bench.null_model_ms) as bare:
        alone = {
            "upload": await bare.of_upload(requests.copies()),
            "id": await bare.of_id(requests.images),
            "list": await bare.of_list(scale.queries),
        }
    figures = [Figure("upload_ceiling_cpu", ceiling.cpu_ms, "ms a picture")]
    for kind, folder in requests.folders.items():
        figures += [Figure(part, spent, "ms", of=f"{kind}, bare") for part, spent in alone[kind].items()]
        await load.in_own_process(requests.address, folder, clients=2, seconds=scale.warm_up_s)
        timed = {count: await _timed(running, requests, folder, count, scale.load_s) for count in CLIENTS}
        figures += _of_kind(kind, timed, alone[kind]["sum"], ceiling.per_second if kind == "upload" else None)
    if scale.beside:
        async with _stalled(requests):
            figures += _details(
                "id, 4 beside stalled", await _timed(running, requests, requests.folders["id"], _BESIDE, scale.load_s)
            )
        async with _attacked(requests.api):
            figures += _details(
                "id, 4 beside 26 MB", await _timed(running, requests, requests.folders["id"], _BESIDE, scale.load_s)
            )
        for name, others in {"status_pages": _watched, "hostile": _hostile}.items():
            figures.append(await _beside(name, others, running, requests, scale.load_s))
    return figures


async def _beside(name: str, others: Others, running: Running, requests: _Requests, seconds: float) -> Figure:
    """How much longer the slowest searches of 8 clients take beside others than alone, in turns."""
    folder, alone, beside = requests.folders["id"], [], []
    for _ in range(TURNS):
        alone.append(await _timed(running, requests, folder, 8, seconds / TURNS))
        async with others(requests):
            beside.append(await _timed(running, requests, folder, 8, seconds / TURNS))
    without, with_others = (
        quantile([ms for found, _ in turns for ms in found.milliseconds], 0.99) for turns in (alone, beside)
    )
    return Figure(f"{name}_p99", with_others / without, "")


async def _timed(running: Running, requests: _Requests, folder: Path, clients: int, seconds: float) -> Timed:
    before = running.usage()
    found = await load.in_own_process(requests.address, folder, clients=clients, seconds=seconds)
    return found, Spent.between(before, running.usage())


def _of_kind(kind: str, timed: Mapping[int, Timed], bare_ms: float, ceiling: float | None) -> Iterator[Figure]:
    """One kind's figures: of one client beside the bare parts, of many beside the embedding ceiling if they embed."""
    median = quantile(timed[1][0].milliseconds, 0.5)
    yield Figure(f"{kind}_1_median", median, "ms", bare_ms)
    yield Figure(f"{kind}_1_of_parts", median / bare_ms, "")
    yield Figure(f"{kind}_best", max(found.per_second for found, _ in timed.values()), "answers/s", ceiling)
    if ceiling is not None:
        yield Figure(f"{kind}_64_of_ceiling", timed[64][0].per_second / ceiling, "")
    for clients, each in timed.items():
        yield from _details(f"{kind}, {clients}", each)


def _details(of: str, timed: Timed) -> Iterator[Figure]:
    found, spent = timed
    answers = len(found.milliseconds)
    yield Figure("median", quantile(found.milliseconds, 0.5), "ms", of=of)
    yield Figure("p99", quantile(found.milliseconds, 0.99), "ms", of=of)
    yield Figure("answers a second", found.per_second, "", of=of)
    yield Figure("failed", found.failed, "", of=of)
    yield Figure("idle share", spent.idle, "", of=of)
    yield from cpu_per_piece(spent, answers, of)


@asynccontextmanager
async def _stalled(requests: _Requests) -> AsyncIterator[None]:
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
async def _hostile(requests: _Requests) -> AsyncIterator[None]:
    """Those of tests/integration/test_hostile_clients.py, though no keys tell others from them."""
    host, port = requests.address
    attacking = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.hostile_clients", host, str(port)
    )
    try:
        yield
    finally:
        attacking.kill()
        await attacking.wait()


@asynccontextmanager
async def _watched(requests: _Requests) -> AsyncIterator[None]:
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
async def _attacked(api: str) -> AsyncIterator[None]:
    """Clients that send, again and again, what has to be refused."""
    oversized = b"\xff\xd8\xff" + bytes(26 * 1024 * 1024)
    async with httpx.AsyncClient(base_url=api, timeout=120) as client:

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


def main() -> None:
    """Start an installation, measure searches on it, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photographs to index and to search with")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scale = dataclasses.replace(Scale(), pictures=options.pictures, load_s=options.seconds)
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as name, installed(Path(name), Choice()) as installation:
        console = report.terminal()
        result = measure(Bench(installation, Photographs.of_folder(options.folder), scale, console.print))
    report.show(console, [result], goals={})
    if options.json:
        options.json.write_text(json.dumps(report.as_json([result], goals={}), indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
