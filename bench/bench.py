"""What every measurement gets: the installation, the pictures, and how much of everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench import ceiling, objects
from bench.ceiling import Ceiling
from bench.installation import Installation
from bench.photographs import Photographs
from bench.running import wait

STOCK = "stock"

type Server = Literal["kafka", "database"]


@dataclass(frozen=True, slots=True)
class Scale:
    """How many pieces, and how many seconds, each measurement takes."""

    pictures: int = 800
    duplicates: int = 1500
    announcements: int = 6000
    puts: int = 50
    idle_s: float = 1.0
    ceiling_s: float = 5.0
    load_s: float = 8.0
    warm_up_s: float = 1.0
    outages: Sequence[Server] = ("kafka", "database")
    outage_s: float = 60.0
    compares: bool = True
    """Whether the ingest worker compares everything after an outage, as it does by default."""
    stream_per_second: float = 4.0
    queries: int = 100
    beside: bool = True
    """Whether searches are also measured beside clients that misbehave."""


QUICK = Scale(
    pictures=96,
    duplicates=96,
    announcements=800,
    puts=6,
    idle_s=0.1,
    ceiling_s=1.0,
    load_s=0.6,
    warm_up_s=0.3,
    outages=("database",),
    outage_s=4.0,
    compares=False,
    queries=20,
    beside=False,
)
"""A smoke run: everything happens, and no figure is worth anything."""


@dataclass(slots=True)
class Bench:
    """One run."""

    installation: Installation
    photographs: Photographs
    scale: Scale
    say: Callable[[str], None]
    stock: list[str] = field(default_factory=list)
    """Keys of pictures that are indexed. The one at position i has the bytes ``salted(STOCK, i)``."""
    spare: list[str] = field(default_factory=list)
    """Keys of indexed pictures, each the only one with its bytes, which may be deleted."""
    copies: list[str] = field(default_factory=list)
    """Keys of objects with the bytes of others."""

    @property
    def null_model_ms(self) -> float | None:
        """What stands for inference, if something does."""
        return self.installation.choice.null_model_ms

    def ceiling(self, folder: Path | None = None) -> Ceiling:
        """Decode + embed alone, now: on the pictures of the run, or on those in a folder."""
        at = folder or self.photographs.files[0].parent
        return ceiling.in_own_process(at, seconds=self.scale.ceiling_s, null_model_ms=self.null_model_ms)

    def fill_stock(self, count: int) -> None:
        """See to it that so many pictures are in stock; the workers run."""
        numbers = range(len(self.stock), count)
        self._put([f"{STOCK}/{number:06}" for number in numbers], STOCK, numbers.start)
        self.stock += [f"{STOCK}/{number:06}" for number in numbers]

    def fill_spare(self, count: int) -> None:
        """See to it that so many pictures can be deleted; the workers run."""
        numbers = range(len(self.spare), count)
        self._put([f"spare/{number:06}" for number in numbers], "spare", numbers.start)
        self.spare += [f"spare/{number:06}" for number in numbers]

    def _put(self, keys: list[str], series: str, first: int) -> None:
        if not keys:
            return
        running = self.installation.running
        self.say(f"putting {len(keys)} pictures that the measurement needs")
        wanted = running.catalog.indexed() + len(keys)
        data = self.photographs.salted
        objects.put(running.s3, running.place.bucket, keys, lambda position: data(series, first + position))
        wait(lambda: running.catalog.indexed() >= wanted, f"{len(keys)} pictures are indexed")
        wait(lambda: running.catalog.pending() == 0, "nothing is pending")
