"""What is compared: the models, and perceptual hashes, each as vectors whose product is their similarity."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

import bench.accuracy.corpus
import bench.accuracy.screens
import bench.accuracy.transforms
import imaging.decoding
import imaging.views
from imaging.comparing import Comparable, comparable
from imaging.embedding import Embedder, OnnxEmbedder, Vectors, unit_rows
from imaging.limits import DecodeLimits
from imaging.local_features import Closeness
from imaging.model_spec import load_spec
from imaging.raster import read
from imaging.views import decode_content, views
from schemas.collection import ViewLayout

CORPUS: Final[tuple[ModuleType, ...]] = (bench.accuracy.corpus, bench.accuracy.screens, bench.accuracy.transforms)
LIMITS: Final = DecodeLimits()


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture's vectors, that of the whole first, and what each is of."""

    names: tuple[str, ...]
    vectors: Vectors

    def of(self, names: frozenset[str]) -> Vectors:
        """The vectors of what is called so."""
        return self.vectors[[name in names for name in self.names]]


@dataclass(frozen=True, slots=True)
class Method:
    """`describe` makes vectors of a query's file, of the whole or also of its parts, `describe_content` of a
    reference's: of the whole first, then of its views. `made_by` is what they depend on; methods of one `network` have
    the same vectors of queries.
    """

    name: str
    network: str
    describe: Callable[[bytes, bool], Seen]
    describe_content: Callable[[bytes], Vectors]
    copy_threshold: float
    made_by: tuple[object, ...] = ()
    floor: float = 0.0


def model(name: str, layout: ViewLayout = "none") -> Method:
    """A built-in model, or a spec file, and which views of the references are indexed beside the whole."""
    spec = load_spec(name)
    embedder = OnnxEmbedder(spec, 1)
    return Method(
        spec.id if layout == "none" else f"{spec.id} and {layout}",
        spec.id,
        lambda data, parts: _embedded(embedder, data, parts=parts),
        lambda data: _embedded_content(embedder, data, layout),
        spec.copy_threshold,
        (spec.name, imaging.decoding, imaging.views),
        spec.floor,
    )


def _embedded(embedder: Embedder, data: bytes, *, parts: bool) -> Seen:
    seen = views(read(data, LIMITS, *embedder.pixel_spec.reduced_size), embedder.pixel_spec, parts=parts)
    return Seen(tuple(view.name for view in seen), embedder.embed([view.pixels for view in seen]))


def _embedded_content(embedder: Embedder, data: bytes, layout: ViewLayout) -> Vectors:
    content = decode_content(data, LIMITS, embedder.pixel_spec, layout)
    return embedder.embed([content.pixels, *content.views])


def _hash(name: str, hashed: Callable[[bytes], Vectors], copy_threshold: float) -> Method:
    """A hash is of the whole, of queries and references alike."""
    return Method(name, name, lambda data, _: Seen(("whole",), hashed(data)), hashed, copy_threshold)


def _hashed(bits: NDArray[np.bool_]) -> Vectors:
    """Bits as a unit vector [1, d]: the share of equal ones is (1 + product) / 2."""
    return unit_rows(np.where(bits.ravel(), 1.0, -1.0).astype(np.float32)[None])


def _phash(data: bytes) -> Vectors:
    import imagehash

    return _hashed(np.asarray(imagehash.phash(_opened(data)).hash))


def _pdq(data: bytes) -> Vectors:
    import pdqhash

    bits, _ = pdqhash.compute(np.asarray(_opened(data)))
    return _hashed(np.asarray(bits, bool))


def _opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


HASHES: Mapping[str, Method] = {
    # The distances are those that the makers advise: 10 of 64 bits, and 31 of 256.
    "phash": _hash("phash", _phash, 100 * (1 - 2 * 10 / 64)),
    "pdq": _hash("pdq", _pdq, 100 * (1 - 2 * 31 / 256)),
}
"""Perceptual hashes, from the dependency group `accuracy`."""


def looked_at(data: bytes, look: Closeness) -> Comparable:
    """What verification looks at."""
    return comparable(data, LIMITS, look)
