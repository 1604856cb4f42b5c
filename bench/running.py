"""An installation that is measured: plain clients of it, and what its processes have used."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
from minio import Minio

from bench import proc
from bench.counters import Catalog, Counts, counts, messages
from schemas.topics import DEFAULT_PREFIX

STACK_FILE = Path(".stack/stack.json")
CLIENT = "client"
"""The name that the benchmark itself, and the load that it makes, has among the processes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation's servers answer, and its bucket. ``s3`` is host:port, ``database`` an SQLAlchemy URL."""

    api: str
    s3: str
    access_key: str
    secret_key: str
    bucket: str
    kafka: str
    database: str
    milvus: str
    alias: str = "twinlens"
    topic_prefix: str = DEFAULT_PREFIX


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used until a moment: CPU seconds by process, and the machine's."""

    at: float
    cpu_s: Mapping[str, float]
    machine: proc.Machine


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used between two moments. The shares are of all cores' time."""

    seconds: float
    cpu_s: Mapping[str, float]
    idle: float
    others: float
    """Used by processes that are neither the installation's nor ours, or taken by the hypervisor."""

    @classmethod
    def between(cls, begin: Usage, end: Usage) -> Self:
        """The difference; a process that was not there at both moments counts from its own start."""
        cpu = {name: max(0.0, used - begin.cpu_s.get(name, 0.0)) for name, used in end.cpu_s.items()}
        busy, idle, stolen = (after - before for before, after in zip(begin.machine, end.machine, strict=True))
        others, total = max(0.0, busy + stolen - sum(cpu.values())), busy + idle + stolen
        shares = (idle / total, others / total) if total > 0 else (math.nan, math.nan)
        return cls(end.at - begin.at, cpu, *shares)


@dataclass(slots=True)
class Running:
    """Clients of an installation, and the process ids (each a session's leader) of its servers and workers by name."""

    place: Place
    pids: Callable[[], Mapping[str, int]]
    s3: Minio
    api: httpx.Client
    catalog: Catalog
    peaks: dict[str, int] = field(default_factory=dict)
    """The most bytes that each process held, as far as ``note_peaks`` has looked."""

    @classmethod
    def at(cls, place: Place, pids: Callable[[], Mapping[str, int]]) -> Self:
        """The installation there."""
        s3 = Minio(place.s3, place.access_key, place.secret_key, secure=False, region="us-east-1")
        return cls(place, pids, s3, httpx.Client(base_url=place.api, timeout=60), Catalog(place.database))

    @classmethod
    def stack(cls, file: Path = STACK_FILE) -> Self:
        """The one that ``make stack`` has started and described in a file."""
        described = json.loads(file.read_text(encoding="utf-8"))
        s3 = described["s3"]
        place = Place(
            api=described["api"],
            s3=s3["endpoint"].removeprefix("http://"),
            access_key=s3["access_key"],
            secret_key=s3["secret_key"],
            bucket=s3["bucket"],
            kafka=described["kafka"],
            database=described["database"],
            milvus=described["milvus"],
        )
        return cls.at(place, lambda: described["processes"])

    def usage(self) -> Usage:
        """What all processes, this one and its children included, have used until now."""
        sessions = proc.cpu_by_session()
        cpu = {name: sessions.get(pid, 0.0) for name, pid in self.pids().items()}
        own = os.times()
        cpu[CLIENT] = own.user + own.system + own.children_user + own.children_system
        return Usage(time.perf_counter(), cpu, proc.machine())

    def counts(self) -> Counts:
        """What the servers have counted until now."""
        place = self.place
        return counts(self.catalog, place.kafka, place.topic_prefix, place.s3, (place.access_key, place.secret_key))

    def events(self) -> int:
        """How many bucket events Kafka has got."""
        return asyncio.run(messages(self.place.kafka, self.place.topic_prefix))["bucket-events"]

    def note_peaks(self) -> None:
        """Remember how much memory the processes held at most; call it before one is ended."""
        for name, pid in self.pids().items():
            self.peaks[name] = max(self.peaks.get(name, 0), proc.peak_bytes(pid))

    def search(self, data: bytes, **options: Any) -> list[dict[str, Any]]:
        """The results of a search by upload."""
        answer = self.api.post("/v1/search", params=options, files={"file": ("q.jpg", data)})
        answer.raise_for_status()
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def close(self) -> None:
        """Give back the connections."""
        self.api.close()
        self.catalog.close()


def wait(met: Callable[[], bool], what: str, *, every_s: float = 0.2, at_most_s: float = 900) -> None:
    """Return when the condition is met. Raises TimeoutError."""
    deadline = time.perf_counter() + at_most_s
    while not met():
        if time.perf_counter() > deadline:
            raise TimeoutError(f"not within {at_most_s:.0f} s: {what}")
        time.sleep(every_s)
