"""Requests as they go over the wire, and what a load of them took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx

from bench import load
from bench.backlog import cpu_per_piece
from bench.bench import Bench
from bench.figures import Figure, quantile
from bench.load import Load
from bench.running import Running, Spent
from ops.copies import TRANSFORMS
from schemas.records import ObjectRef

KEY: Final = "a-key-of-the-bench-alone-" + 20 * "k"
"""What requests come with where keys are asked for."""
_COPY = "jpeg-10"
_VERIFIED: Final = 20

type Timed = tuple[Load, Spent]


class Requests:
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
        alternately = [self._upload(copy, verify=each) for copy in copies[:_VERIFIED] for each in ("false", "true")]
        self.verified = self._write(folder / "verified", alternately)
        """Searches of a few pictures, each first as usual, and then verified."""
        keyed = [httpx.Request("GET", self._similar(image).url, headers={"X-API-Key": KEY}) for image in self.images]
        self.by_id_with_key = self._write(folder / "keyed", keyed)

    @property
    def address(self) -> tuple[str, int]:
        """Where the query service listens."""
        url = httpx.URL(self.api)
        return url.host, url.port or 80

    def copies(self) -> list[bytes]:
        """The pictures."""
        return [path.read_bytes() for path in sorted(self.pictures.iterdir())]

    def _upload(self, data: bytes, **parameters: str) -> httpx.Request:
        return httpx.Request("POST", f"{self.api}/v1/search", params=parameters, files={"file": ("q.jpg", data)})

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


async def timed(running: Running, requests: Requests, folder: Path, clients: int, seconds: float) -> Timed:
    """Ask from so many clients for so many seconds."""
    before = running.usage()
    found = await load.in_own_process(requests.address, folder, clients=clients, seconds=seconds)
    return found, Spent.between(before, running.usage())


def details(of: str, timed: Timed) -> Iterator[Figure]:
    """All that is known of a load."""
    found, spent = timed
    answers = len(found.milliseconds)
    yield Figure("median", quantile(found.milliseconds, 0.5), "ms", of=of)
    yield Figure("p99", quantile(found.milliseconds, 0.99), "ms", of=of)
    yield Figure("answers a second", found.per_second, "", of=of)
    yield Figure("failed", found.failed, "", of=of)
    yield Figure("idle share", spent.idle, "", of=of)
    yield from cpu_per_piece(spent, answers, of)
