"""A float32 network to int8, and what that costs in agreement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.progress import track

from imaging.decoding import Pixels, decode
from imaging.embedding import OnnxEmbedder, Tensor, Vectors
from imaging.errors import ModelError, UndecodableImage
from imaging.limits import DecodeLimits
from imaging.model_spec import ModelSpec, OnnxFile
from ops.pictures import find_sources
from ops.terminal import plain, stderr

FEWEST_PHOTOS = 20
"""Half of them to calibrate with, half to compare on."""
MOST_PHOTOS = 400

_INTEGER_OPERATORS = ["Conv", "Relu", "Add", "MaxPool"]
"""The trunk, which takes the time. Pooling and scaling to length 1 stay as they are: they need the precision."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two networks' vectors of the same pictures."""

    pictures: int
    mean_cosine: float
    lowest_cosine: float
    top_1: float
    """The share of pictures to which both find the same other picture nearest."""


class _Calibration:
    """Hands the pictures to ONNX Runtime one by one, as `CalibrationDataReader` says."""

    def __init__(self, embedder: OnnxEmbedder, pictures: Sequence[Pixels]) -> None:
        name = embedder.spec.input.name
        self._feeds: Iterator[dict[str, Tensor]] = ({name: embedder.tensor([picture])} for picture in pictures)

    def get_next(self) -> dict[str, Tensor] | None:
        return next(self._feeds, None)


def quantise(spec: ModelSpec, pictures: Sequence[Pixels]) -> tuple[ModelSpec, Agreement]:
    """Write an int8 network beside the model's own, calibrated with every second picture.

    The answer is its spec, and what it costs on the other pictures.

    Weights are int8 for each channel, of 7 bits, since processors without VNNI overflow with 8. Raises `ModelError`
    for fewer than `FEWEST_PHOTOS` pictures.
    """
    if len(pictures) < FEWEST_PHOTOS:
        raise ModelError(f"Quantising takes {FEWEST_PHOTOS} pictures or more; there are {len(pictures)}.")
    network = spec.onnx_path().with_name(f"{spec.id}_int8.onnx")
    original = OnnxEmbedder(spec)
    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(spec.onnx_path(), prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            network,
            _Calibration(original, pictures[::2]),
            op_types_to_quantize=_INTEGER_OPERATORS,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
    quantised = spec.model_copy(update={"id": f"{spec.id}_int8", "onnx": OnnxFile(path=network)})
    compared = pictures[1::2]
    return quantised, agreement(original.embed(compared), OnnxEmbedder(quantised).embed(compared))


def agreement(one: Vectors, other: Vectors) -> Agreement:
    """Compare unit vectors, [n, dimension] each, row by row; n is two or more."""
    cosines = (one * other).sum(axis=1)
    same = _nearest_others(one) == _nearest_others(other)
    return Agreement(len(one), float(cosines.mean()), float(cosines.min()), float(same.mean()))


def _nearest_others(vectors: Vectors) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return scores.argmax(axis=1)


def calibration_pictures(photos: Path, spec: ModelSpec) -> list[Pixels]:
    """The folder's pictures, at most MOST_PHOTOS of them spread over it, as the model sees them."""
    sources = find_sources([photos])
    sources = sources[:: -(-len(sources) // MOST_PHOTOS) or 1]
    found = []
    for source in track(sources, description="reading", console=stderr()):
        try:
            found.append(decode(source.path.read_bytes(), DecodeLimits(), spec.pixels).pixels)
        except UndecodableImage as error:
            stderr().print(plain(f"left out: {source.path}: {error}"), soft_wrap=True)
    return found
