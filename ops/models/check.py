"""`twinlens models check`: run a model on painted pictures and see whether it does what Twinlens needs."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imaging.decoding import Pixels
from imaging.embedding import OnnxEmbedder
from imaging.model_spec import ModelSpec
from ops.gallery.make import paint

PICTURES = 16
_AT_ONCE = 8
_BATCHES = (1, 2, 5)
_ROUNDS = 3
_SAME_COSINE = 0.9999
"""As in `streams.index.converge_contents`: a vector and itself, as an index computes their cosine, are above this."""

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Checked:
    """What was seen of a model."""

    dimension: int
    lengths: tuple[float, float]
    """The shortest and the longest vector, as the network gives them: Twinlens scales them to 1."""
    milliseconds: float
    """A picture, by the clock, in batches of 8."""
    batch_cosine: float
    """The lowest cosine of a picture's vectors alone and in a batch."""
    closest_pair: float
    """The highest cosine of two different pictures: at 1, the network doesn't tell pictures apart."""
    file_mib: float
    memory_mib: float
    """By how much loading and running it raised the process's peak."""

    @property
    def problems(self) -> list[str]:
        """Why it shouldn't be used."""
        found = []
        if self.batch_cosine < _SAME_COSINE:
            found.append("a picture's vector depends on what else is in its batch")
        if self.closest_pair >= _SAME_COSINE:
            found.append("two different pictures have the same vector")
        return found


def check(spec: ModelSpec, *, threads: int) -> Checked:
    """Run it on `PICTURES` painted pictures.

    Raises `ModelError` if it can't be run, `EmbeddingError` if what it gives is no vector.
    """
    before = _peak_memory()
    embedder = OnnxEmbedder(spec, threads)
    # Before the pictures are painted, which takes memory as well.
    embedder.outputs([np.zeros((spec.pixels.height, spec.pixels.width, 3), np.uint8)] * _AT_ONCE)
    memory = _peak_memory() - before
    pictures = [_fitted(index, spec) for index in range(PICTURES)]
    outputs = _in_batches(embedder, pictures, _AT_ONCE)
    lengths = np.linalg.norm(outputs, axis=1)
    milliseconds = [_milliseconds(embedder, pictures) for _ in range(_ROUNDS)]
    vectors = embedder.embed(pictures)
    cosines = [_lowest_cosine(outputs, _in_batches(embedder, pictures, size)) for size in _BATCHES]
    others = vectors @ vectors.T - 2 * np.eye(PICTURES)
    return Checked(
        dimension=vectors.shape[1],
        lengths=(float(lengths.min()), float(lengths.max())),
        milliseconds=statistics.median(milliseconds),
        batch_cosine=min(cosines),
        closest_pair=float(others.max()),
        file_mib=spec.onnx_path().stat().st_size / _MIB,
        memory_mib=memory / _MIB,
    )


def _fitted(index: int, spec: ModelSpec) -> Pixels:
    _, picture = paint(index, seed=0)
    return np.asarray(picture.convert("RGB").resize((spec.pixels.width, spec.pixels.height)))


def _in_batches(embedder: OnnxEmbedder, pictures: Sequence[Pixels], size: int) -> NDArray[np.float32]:
    return np.concatenate([embedder.outputs(pictures[at : at + size]) for at in range(0, len(pictures), size)])


def _lowest_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / lengths).min())


def _milliseconds(embedder: OnnxEmbedder, pictures: Sequence[Pixels]) -> float:
    began = time.perf_counter()
    _in_batches(embedder, pictures, _AT_ONCE)
    return 1000 * (time.perf_counter() - began) / len(pictures)


def _peak_memory() -> int:
    """Of this process, in bytes; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
