"""The stack that is measured: what ``make stack`` wrote into ``.stack/stack.json``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from minio import Minio

STACK_FILE = Path(".stack/stack.json")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True, slots=True)
class Running:
    """A plain object store client and a plain HTTP client of a running stack."""

    s3: Minio
    bucket: str
    api: httpx.Client

    @classmethod
    def stack(cls, file: Path = STACK_FILE) -> Running:
        """The stack of a file as ``make stack`` writes it."""
        stack = json.loads(file.read_text())
        s3 = stack["s3"]
        client = Minio(s3["endpoint"].removeprefix("http://"), s3["access_key"], s3["secret_key"], secure=False)
        return cls(client, s3["bucket"], httpx.Client(base_url=stack["api"], timeout=60))

    def search(self, data: bytes, **options: Any) -> list[dict[str, Any]]:
        """The results of a search by upload."""
        answer = self.api.post("/v1/search", params=options, files={"file": ("q.jpg", data)})
        answer.raise_for_status()
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def count(self, **filters: Any) -> int:
        """How many images match."""
        answer = self.api.get("/v1/images", params={"count": True, "limit": 1, **filters})
        answer.raise_for_status()
        return int(answer.json()["total"])


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, in order."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def wait(met: Callable[[], bool], *, every: float, at_most: float = 900) -> Iterator[float]:
    """Seconds passed, again and again, until the condition is met. Raises TimeoutError."""
    began = time.perf_counter()
    while not met():
        passed = time.perf_counter() - began
        if passed > at_most:
            raise TimeoutError(f"not within {at_most:.0f} s")
        yield passed
        time.sleep(every)
