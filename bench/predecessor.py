"""Decode and embed beside the predecessor's engine: torch's ResNet50 in float32, in turns, in one process.

python -m bench.predecessor FOLDER [--pictures 64] [--rounds 3] [--threads 1] [--model sscd] [--json FILE]

torch is no dependency of Twinlens; it is wanted for this alone, best in an environment of its own:

    uv venv torch-env && uv pip install --python torch-env/bin/python -e '.[cpu]' torch torchvision
    torch-env/bin/python -m bench.predecessor FOLDER

CPU time counts, that of all threads of the process, since other programs don't change it much. The weights are
random, for a network takes the same time with any. With more threads than there are free cores torch's threads wait
for each other at full speed, which counts as CPU time too; with one thread they can't.
"""

import argparse
import importlib
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.photographs import Photographs
from imaging.decoding import decode
from imaging.embedding import OnnxEmbedder
from imaging.limits import DecodeLimits
from imaging.model_spec import load_spec

BATCH = 8
_CROP, _SHORTER = 224, 256
_MEAN, _STD = np.asarray([0.485, 0.456, 0.406], np.float32), np.asarray([0.229, 0.224, 0.225], np.float32)

console = Console()

type Engine = Callable[[Sequence[bytes]], object]


def twinlens(model: str, threads: int) -> Engine:
    """Decode and embed as the index worker does."""
    embedder, limits = OnnxEmbedder(load_spec(model), threads), DecodeLimits()

    def run(batch: Sequence[bytes]) -> object:
        return embedder.embed([decode(data, limits, embedder.pixel_spec).pixels for data in batch])

    return run


def predecessor(torch: ModuleType, torchvision: ModuleType, threads: int) -> Engine:
    """Decode, scale and embed as iv2 did: the shorter side to 256, the middle 224, ImageNet's statistics."""
    torch.set_num_threads(threads)
    network = torchvision.models.resnet50(weights=None).eval()

    def run(batch: Sequence[bytes]) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(np.stack([_cropped(data) for data in batch])))

    return run


def _cropped(data: bytes) -> NDArray[np.float32]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = _SHORTER / min(image.size)
    scaled = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (scaled.width - _CROP) // 2, (scaled.height - _CROP) // 2
    values = np.asarray(scaled.crop((left, top, left + _CROP, top + _CROP)), np.float32) / 255
    return np.ascontiguousarray(((values - _MEAN) / _STD).transpose(2, 0, 1))


def measure(engines: dict[str, tuple[Engine, int]], files: Sequence[bytes], rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds a picture of each engine at its batch size: of CPU, and by the clock."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for engine, size in engines.values():
        engine(files[:size])
    for turn in range(rounds):
        # Back and forth, so that a machine that gets slower favours neither.
        for name, (engine, size) in list(engines.items())[:: -1 if turn % 2 else 1]:
            cpu, wall = time.process_time(), time.perf_counter()
            for start in range(0, len(files), size):
                engine(files[start : start + size])
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    per_picture = 1000 / len(files)
    return {
        name: {
            "cpu_ms": round(statistics.median(cpu for cpu, _ in taken) * per_picture, 2),
            "wall_ms": round(statistics.median(wall for _, wall in taken) * per_picture, 2),
        }
        for name, taken in times.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="sscd")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        torch, torchvision = importlib.import_module("torch"), importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        sys.exit(f"{error}; how to install it: python -m bench.predecessor --help")
    found = Photographs.of_folder(options.folder).files
    files = [file.read_bytes() for file in found[:: max(1, len(found) // options.pictures)][: options.pictures]]
    ours, theirs = twinlens(options.model, options.threads), predecessor(torch, torchvision, options.threads)
    engines = {f"twinlens, {BATCH} at once": (ours, BATCH), f"torch, {BATCH} at once": (theirs, BATCH)}
    engines |= {"twinlens, one by one": (ours, 1), "torch, one by one": (theirs, 1)}
    result = measure(engines, files, options.rounds)
    _, torch_cpu = (result[name]["cpu_ms"] for name in list(engines)[:2])
    table = Table(
        title=f"{len(files)} pictures, {options.threads} thread(s), {options.model}; torch {torch.__version__}"
    )
    for column in ("decode + embed", "CPU ms a picture", "ms by the clock", f"torch, {BATCH} at once / this (CPU)"):
        table.add_column(column, justify="left" if column == "decode + embed" else "right")
    for name, figures in result.items():
        figures["torch_ratio"] = round(torch_cpu / figures["cpu_ms"], 2)
        table.add_row(name, *(f"{figures[key]:.1f}" for key in ("cpu_ms", "wall_ms", "torch_ratio")))
    console.print(table)
    if options.json:
        report = {"pictures": len(files), "rounds": options.rounds, "threads": options.threads, "model": options.model}
        options.json.write_text(json.dumps(report | {"torch": torch.__version__, "engines": result}, indent=2))


if __name__ == "__main__":
    main()
