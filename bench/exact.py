"""What a search among made-up vectors should find: the nearest ones by brute force, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.synthetic import Matrix

NEAREST: Final = 10
RARE, COMMON = "rare", "common"
"""The buckets."""
RARE_EVERY: Final = 20
"""One vector in so many lies in the bucket ``rare``, which filtered searches ask for."""


def bucket_of(position: int) -> str:
    """The bucket of the vector at this position."""
    return COMMON if position % RARE_EVERY else RARE


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of search: which vectors it may find, by their positions, and how the adapter is told so."""

    name: str
    bucket: str | None = None
    among: tuple[int, ...] | None = None

    def allows(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the vectors at these positions may be found."""
        if self.bucket is not None:
            return np.asarray(positions % RARE_EVERY == 0)
        return np.isin(positions, self.among) if self.among is not None else np.ones(len(positions), dtype=np.bool_)


EVERYTHING: Final = Kind("all")


class Nearest:
    """The exact answers, from blocks of vectors as they come by."""

    def __init__(self, queries: Matrix, kind: Kind) -> None:
        self._queries, self._kind = queries, kind
        self._cosines = np.full((len(queries), NEAREST), -2, dtype=np.float32)
        self.positions = np.full((len(queries), NEAREST), -1, dtype=np.int64)

    def see(self, first: int, block: Matrix) -> None:
        """Take in the vectors whose positions begin with ``first``."""
        positions = np.arange(first, first + len(block))
        allowed = self._kind.allows(positions)
        cosines = np.hstack([self._cosines, self._queries @ block[allowed].T])
        found = np.hstack([self.positions, np.tile(positions[allowed], (len(cosines), 1))])
        best = np.argpartition(-cosines, NEAREST - 1, axis=1)[:, :NEAREST]
        self._cosines = np.take_along_axis(cosines, best, axis=1)
        self.positions = np.take_along_axis(found, best, axis=1)
