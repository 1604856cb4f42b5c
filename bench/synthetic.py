"""Made-up embeddings in any number, in clusters as those of photographs are.

Fitted to the vectors that sscd gives for 1,000 product photographs of two kinds (docs/scaling.md): the shares of the
axes, the number of clusters and the distance from their centres were varied until the cosines of all pairs and those
to the 1st, 2nd, 10th and 50th nearest neighbour agreed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 10_000

_CLUSTERS_AMONG_1000: Final = 64
_CENTRE_COSINE: Final = (0.45, 0.18)
"""Mean and standard deviation of a vector's cosine to the centre of its cluster."""
_CENTRES_POWER: Final = 1.0
"""Of a centre's variance, the n-th axis has a share of n to the minus this."""
_COMMON: Final = 0.6
"""What all centres have in common, beside a length of one that is each one's own."""
_NOISE_AXES: Final = 200.0
"""Of what is not the centre's, the n-th axis has a share of exp(-n / this)."""
_COPY_COSINE: Final = 0.85
"""Between a query and the vector that it is a changed copy of."""

type Matrix = NDArray[np.float32]
"""Unit vectors, shape ``[n, dimension]``."""


@dataclass(frozen=True, slots=True)
class SyntheticVectors:
    """``count`` unit vectors; the same ones each time. The number of clusters grows with the root of the count."""

    count: int
    dimension: int

    def blocks(self) -> Iterator[Matrix]:
        """All vectors, at most ``BLOCK`` at a time."""
        centres, rotation = self._centres(), self._rotation()
        for number, first in enumerate(range(0, self.count, BLOCK)):
            random = np.random.default_rng((1, number))
            members = centres[random.integers(0, len(centres), min(BLOCK, self.count - first))]
            cosines = np.clip(random.normal(*_CENTRE_COSINE, (len(members), 1)), 0.05, 0.95)
            yield _mixed(members, self._noise(random, len(members)), cosines) @ rotation

    def queries(self, count: int) -> Matrix:
        """Changed copies of the first vectors."""
        random = np.random.default_rng(2)
        originals = next(self.blocks())[:count]
        noise = self._noise(random, len(originals)) @ self._rotation()
        return _mixed(originals, noise, np.full((len(originals), 1), _COPY_COSINE))

    def _centres(self) -> Matrix:
        clusters = max(1, round(_CLUSTERS_AMONG_1000 * (self.count / 1000) ** 0.5))
        axes = np.arange(1, self.dimension + 1) ** (-_CENTRES_POWER / 2)
        own = _unit(np.random.default_rng(3).standard_normal((clusters, self.dimension)) * axes)
        own[:, 0] += _COMMON
        return _unit(own)

    def _noise(self, random: np.random.Generator, count: int) -> Matrix:
        axes = np.exp(-np.arange(self.dimension) / (2 * _NOISE_AXES))
        return _unit(random.standard_normal((count, self.dimension)) * axes)

    def _rotation(self) -> Matrix:
        """A network's axes mean nothing by themselves, and a quantiser must not gain by ours."""
        square = np.random.default_rng(4).standard_normal((self.dimension, self.dimension))
        return np.linalg.qr(square)[0].astype(np.float32)


def _mixed(directions: Matrix, noise: Matrix, cosines: NDArray[np.float64]) -> Matrix:
    """Unit vectors at these cosines to the directions, as far as the noise is orthogonal to them."""
    return _unit(cosines * directions + np.sqrt(1 - cosines**2) * noise)


def _unit(rows: NDArray[np.floating]) -> Matrix:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)
