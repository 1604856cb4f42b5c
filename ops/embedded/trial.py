"""The proof of a running stack: transformed copies of its pictures, searched over HTTP, must find their originals."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from ops.copies import TRANSFORMS
from ops.http_client import ApiClient

AT_A_TIME: Final = 2


@dataclass(slots=True)
class TransformResult:
    """How the copies of one kind were found."""

    transform: str
    found: int = 0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def searches(self) -> int:
        """How many were searched."""
        return len(self.milliseconds)

    @property
    def recall_at_1(self) -> float:
        """The share whose original came first."""
        return self.found / self.searches if self.searches else 0.0

    @property
    def median_ms(self) -> float:
        """The median time of a search, from sending the picture to the answer."""
        return median(self.milliseconds) if self.milliseconds else 0.0


def recall_at_1(results: Iterable[TransformResult]) -> float:
    """The share of all searches whose original came first."""
    results = list(results)
    searches = sum(result.searches for result in results)
    return sum(result.found for result in results) / searches if searches else 0.0


async def indexed_sample(client: ApiClient, paths: Sequence[Path], size: int) -> list[Path]:
    """Up to ``size`` of the files, evenly spread, whose content is indexed (a rejected picture can't be found)."""
    step = max(1, len(paths) / size)
    candidates = [paths[int(place * step)] for place in range(min(size, len(paths)))]
    sample = []
    for path in candidates:
        digest = hashlib.sha256(await asyncio.to_thread(path.read_bytes)).hexdigest()
        if await client.images(sha256=digest, state="indexed", limit=1):
            sample.append(path)
    return sample


async def search_copies(
    client: ApiClient, paths: Sequence[Path], advance: Callable[[], object]
) -> list[TransformResult]:
    """Search every kind of copy of every file, and count those whose original is the first hit."""
    results = {name: TransformResult(name) for name in TRANSFORMS}
    slots = asyncio.Semaphore(AT_A_TIME)

    async def one(path: Path, transform: str) -> None:
        async with slots:
            original = await asyncio.to_thread(path.read_bytes)
            copy = await asyncio.to_thread(TRANSFORMS[transform], original)
            began = time.perf_counter()
            answer = await client.search(copy, limit=1)
            result = results[transform]
            result.milliseconds.append((time.perf_counter() - began) * 1000)
            hits = answer["results"]
            result.found += bool(hits) and hits[0]["image"]["sha256"] == hashlib.sha256(original).hexdigest()
            advance()

    await asyncio.gather(*[one(path, transform) for path in paths for transform in TRANSFORMS])
    return list(results.values())
