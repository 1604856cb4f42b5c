"""Decode + embed alone, as the index worker does it and nothing else: the ceiling of what a pipeline can reach.

    python -m bench.ceiling FOLDER [--seconds 5] [--null-model MS]

Prints pictures a second and milliseconds of CPU a picture as JSON. While a batch is embedded the next one is decoded,
with the settings of the index worker, from bytes in memory. It is a process of its own, so that its threads, memory
and CPU are nobody else's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.null_model import NullEmbedder
from bench.photographs import Photographs
from imaging.decoding import Pixels, decode
from imaging.embedding import Embedder, OnnxEmbedder
from imaging.limits import DecodeLimits
from imaging.model_spec import load_spec
from schemas.settings import Settings, load_settings

_MOST_IN_MEMORY = 400


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What was reached. ``cpu_ms``: of the whole process, a picture."""

    pictures: int
    per_second: float
    cpu_ms: float


def embedder_of(settings: Settings, null_model_ms: float | None) -> Embedder:
    """The index worker's embedder, or what stands for it."""
    spec = load_spec(settings.model.spec)
    if null_model_ms is not None:
        return NullEmbedder(spec, null_model_ms)
    return OnnxEmbedder(spec, settings.model.threads or os.cpu_count() or 1, settings.model.providers)


def measure(pictures: Sequence[bytes], embedder: Embedder, settings: Settings, seconds: float) -> Ceiling:
    """Decode and embed the pictures, from the first one again after the last, for so many seconds."""
    limits = DecodeLimits()

    def pixels(data: bytes) -> Pixels:
        return decode(data, limits, embedder.pixel_spec).pixels

    with ThreadPoolExecutor(settings.index.decode_threads) as pool:

        def batches() -> Iterator[list[Future[Pixels]]]:
            for batch in itertools.batched(itertools.cycle(pictures), settings.index.batch_size):
                yield [pool.submit(pixels, data) for data in batch]

        ahead = batches()
        following = next(ahead)
        # What is done before the clock starts is made up for by the batch that is decoded and not embedded at its end.
        began, cpu, done = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < seconds:
            batch, following = following, next(ahead)
            embedder.embed([future.result() for future in batch])
            done += len(batch)
        passed, used = time.perf_counter() - began, time.process_time() - cpu
    return Ceiling(done, done / passed, 1000 * used / done)


def in_own_process(folder: Path, *, seconds: float, null_model_ms: float | None) -> Ceiling:
    """Measure it with the pictures of a folder."""
    command = [sys.executable, "-m", "bench.ceiling", str(folder), "--seconds", str(seconds)]
    if null_model_ms is not None:
        command += ["--null-model", str(null_model_ms)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return Ceiling(**json.loads(done.stdout))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--null-model", type=float, metavar="MS", help="milliseconds a picture in place of inference")
    options = parser.parse_args()
    settings = load_settings()
    files = Photographs.of_folder(options.folder).files[:_MOST_IN_MEMORY]
    embedder = embedder_of(settings, options.null_model)
    found = measure([file.read_bytes() for file in files], embedder, settings, options.seconds)
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
