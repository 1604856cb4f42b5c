"""`twinlens` with a constant time in the place of inference, so that the limit of everything else shows.

    python -m bench.null_model MILLISECONDS worker index
    python -m bench.null_model MILLISECONDS api

The process sleeps so long for each picture, as it would wait for an accelerator, and gives vectors that depend on the
pixels alone: the same for the same pixels, of length 1, and not near one another. Production code has no switch for
this: the name that the composition roots make their embedder by is replaced before the ordinary command runs.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from imaging.decoding import Pixels
from imaging.embedding import Embedder, Vectors, unit_rows
from imaging.model_spec import ModelSpec, PixelSpec

CLASS = "OnnxEmbedder"


class NullEmbedder:
    """An embedder that knows how long a network would take, and nothing else of it."""

    def __init__(self, spec: ModelSpec, milliseconds: float) -> None:
        """``milliseconds``: what each picture takes, asleep."""
        self.spec = spec
        self._seconds = milliseconds / 1000

    @property
    def model_id(self) -> str:
        """The spec's id, since the collection was made for it."""
        return self.spec.id

    @property
    def model_name(self) -> str:
        """The spec's name, for the same reason."""
        return self.spec.name

    @property
    def dimension(self) -> int:
        """The spec's."""
        return self.spec.dimension

    @property
    def pixel_spec(self) -> PixelSpec:
        """The spec's."""
        return self.spec.pixels

    def embed(self, batch: Sequence[Pixels]) -> Vectors:
        """See ``Embedder.embed``."""
        time.sleep(self._seconds * len(batch))
        if not batch:
            return np.empty((0, self.dimension), np.float32)
        return unit_rows(np.stack([self._direction(pixels) for pixels in batch]))

    def _direction(self, pixels: Pixels) -> Vectors:
        seed = int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:16])
        return np.random.Generator(np.random.PCG64(seed)).standard_normal(self.dimension, np.float32)


def null_embedder(milliseconds: float) -> Callable[..., Embedder]:
    """What is called where an embedder is made; how many threads it may have doesn't matter to one that sleeps."""

    def make(spec: ModelSpec, **_: object) -> Embedder:
        return NullEmbedder(spec, milliseconds)

    return make


def put_in_place(modules: Sequence[ModuleType], milliseconds: float) -> None:
    """Replace the embedder in these composition roots. Raises AttributeError where one has none of that name."""
    for module in modules:
        if not hasattr(module, CLASS):
            raise AttributeError(f"{module.__name__} makes its embedder by another name than {CLASS}")
        setattr(module, CLASS, null_embedder(milliseconds))


def main() -> None:
    """Run the command with the embedder replaced."""
    from ops.cli import app
    from query_api.search import live_model
    from streams.process import worker

    put_in_place([live_model, worker], float(sys.argv[1]))
    app(sys.argv[2:])


if __name__ == "__main__":
    main()
