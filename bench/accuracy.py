"""How well a model finds copies, and from which score on a hit is called a copy.

    python -m bench.accuracy FOLDER [--model sscd] [--limit 1000] [--json FILE]

Every picture in the folder is embedded, and each of its transformed copies (`ops.copies`) is searched among
all of them by brute force. `recall@1` is the share of searches whose original comes first. A false alarm is
a search in which some other picture of the folder reaches a score; the copy threshold is the lowest whole
score with false alarms in at most 1 % of the searches. Pictures of the same scene count as others here, so
a folder full of them errs on the safe side.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.photographs import SUFFIXES
from imaging.decoding import decode
from imaging.embedding import Embedder, OnnxEmbedder, Vectors
from imaging.limits import DecodeLimits
from imaging.model_spec import load_spec
from ops.copies import TRANSFORMS

type Scores = NDArray[np.float32]

_BATCH = 32
_SCORES = range(30, 96, 5)
FALSE_ALARMS = 0.01
"""The share of searches in which a different picture may reach the copy threshold."""


@dataclass(frozen=True, slots=True)
class TransformResult:
    """One transform over all pictures. Scores are 0 to 100."""

    recall_at_1: float
    median_score: float
    lowest_percentile: float
    """The score that 99 % of the copies reach with their original."""


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """What a threshold at one score would do, as shares."""

    copies: float
    """Of the copies, those that reach it with their original."""
    false_alarms: float
    """Of the searches, those in which a different picture reaches it."""
    pairs: float
    """Of the pairs of a copy and a different picture, those that reach it."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What was measured for one model."""

    model: str
    pictures: int
    seconds: float
    recall_at_1: float
    transforms: Mapping[str, TransformResult]
    at_score: Mapping[int, ScoreResult]
    copy_threshold: int


def measure(embedder: Embedder, files: list[Path]) -> Accuracy:
    """Search every copy of every file among all files, and see what comes first."""
    start = time.monotonic()
    originals = _embed(embedder, (path.read_bytes() for path in files), len(files), "originals")
    results: dict[str, TransformResult] = {}
    all_own: list[Scores] = []
    all_others: list[Scores] = []
    for name, transform in TRANSFORMS.items():
        copies = _embed(embedder, (transform(path.read_bytes()) for path in files), len(files), name)
        scores = 100 * np.clip(copies @ originals.T, 0, None)
        own = np.diagonal(scores).copy()
        np.fill_diagonal(scores, -1)
        results[name] = TransformResult(
            recall_at_1=float((own > scores.max(axis=1)).mean()),
            median_score=float(np.median(own)),
            lowest_percentile=float(np.quantile(own, 0.01)),
        )
        all_own.append(own)
        all_others.append(scores)
    own, others = np.concatenate(all_own), np.concatenate(all_others)
    return Accuracy(
        model=embedder.model_id,
        pictures=len(files),
        seconds=round(time.monotonic() - start, 1),
        recall_at_1=float(np.mean([result.recall_at_1 for result in results.values()])),
        transforms=results,
        at_score={score: _at_score(score, own, others) for score in _SCORES},
        copy_threshold=int(np.ceil(np.quantile(others.max(axis=1), 1 - FALSE_ALARMS))),
    )


def _at_score(score: int, own: Scores, others: Scores) -> ScoreResult:
    return ScoreResult(
        copies=float((own >= score).mean()),
        false_alarms=float((others.max(axis=1) >= score).mean()),
        pairs=float((others >= score).sum() / (others.size - len(others))),
    )


def _embed(embedder: Embedder, files: Iterator[bytes], count: int, what: str) -> Vectors:
    limits, pixels, vectors = DecodeLimits(), [], []
    for data in track(files, description=what, total=count, console=Console(stderr=True)):
        pixels.append(decode(data, limits, embedder.pixel_spec).pixels)
        if len(pixels) == _BATCH:
            vectors.append(embedder.embed(pixels))
            pixels = []
    vectors.append(embedder.embed(pixels))
    return np.concatenate(vectors)


def _print(result: Accuracy) -> None:
    console = Console()
    title = f"{result.model}: {result.pictures} pictures, recall@1 {result.recall_at_1:.4f}, {result.seconds} s"
    table = Table("transform", "recall@1", "median score", "99 % reach", title=title)
    for name, one in result.transforms.items():
        table.add_row(name, f"{one.recall_at_1:.3f}", f"{one.median_score:.1f}", f"{one.lowest_percentile:.1f}")
    console.print(table)
    reached = Table("score", "copies that reach it", "searches with a false alarm", "pairs of different pictures")
    for score, at in result.at_score.items():
        reached.add_row(str(score), f"{at.copies:.2%}", f"{at.false_alarms:.2%}", f"{at.pairs:.1e}")
    console.print(reached)
    console.print(f"copy threshold: {result.copy_threshold}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="sscd", help="a built-in model's id or a spec file")
    parser.add_argument("--limit", type=int, default=1000, help="pictures at most, the first by name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(files) < 2:
        parser.error(f"{arguments.folder} holds fewer than two pictures")
    result = measure(OnnxEmbedder(load_spec(arguments.model), arguments.threads), files[: arguments.limit])
    _print(result)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
