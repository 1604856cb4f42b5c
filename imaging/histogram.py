"""An embedder without a network, for tests and for trying things out: colours and edges, place by place."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imaging.decoding import Pixels
from imaging.embedding import Vectors, unit_rows
from imaging.model_spec import PixelSpec

_GRID = 8
_FEATURES = 5


class HistogramEmbedder:
    """An 8 × 8 grid of mean colours and edge strengths, projected to 512 components by a fixed random matrix.

    Recompressed, scaled and captioned copies stay near; it knows nothing of mirrored or cropped ones. About a
    thousand pictures a second, and the same vector on every machine to float precision.
    """

    model_id = "histogram"
    model_name = "histogram@1"
    dimension = 512
    pixel_spec = PixelSpec(width=64, height=64)

    def __init__(self) -> None:
        generator = np.random.Generator(np.random.PCG64(20))
        shape = (_GRID * _GRID * _FEATURES + 1, self.dimension)
        self._projection = generator.standard_normal(shape) / np.sqrt(self.dimension)

    def embed(self, batch: Sequence[Pixels]) -> Vectors:
        """See `imaging.embedding.Embedder.embed`."""
        rows = [self._features(pixels) @ self._projection for pixels in batch]
        return unit_rows(np.asarray(rows, dtype=np.float32).reshape(len(rows), self.dimension))

    def _features(self, pixels: Pixels) -> NDArray[np.float64]:
        expected = (self.pixel_spec.height, self.pixel_spec.width, 3)
        if pixels.shape != expected or pixels.dtype != np.uint8:
            raise ValueError(f"expected uint8 pixels of shape {expected}, got {pixels.dtype} {pixels.shape}")
        colours = pixels.astype(np.float64) / 255 - 0.5
        grey = colours.mean(axis=2)
        edges = np.stack([np.abs(np.gradient(grey, axis=axis)) for axis in (0, 1)], axis=2)
        everything = np.concatenate([colours, 4 * edges], axis=2)
        cell = self.pixel_spec.width // _GRID
        cells = everything.reshape(_GRID, cell, _GRID, cell, _FEATURES).mean(axis=(1, 3))
        # A constant component keeps an all-grey picture from having no direction.
        return np.append((cells - cells.mean(axis=(0, 1)) * 0.5).ravel(), 0.05)
