"""Pixels to vectors. One path for the index and for queries, so that the two can't drift apart."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from imaging.decoding import Pixels
from imaging.errors import EmbeddingError, ModelError
from imaging.model_spec import ModelSpec, Normalisation, PixelSpec
from imaging.session import CPU, RUNTIME_ERRORS, open_session
from schemas.errors import InferenceOutage

Vectors = NDArray[np.float32]
"""float32 [n, dimension], each row of Euclidean length 1."""

type Tensor = NDArray[Any]
"""What a network takes: uint8 or float32, [n, height, width, 3] or [n, 3, height, width]."""

_RUN_AT_ONCE = 8
"""Larger batches are split, so that memory doesn't depend on a caller's batch size; more at once isn't
faster either.
"""


class Embedder(Protocol):
    """Turns pictures into vectors whose inner product is their similarity (1: the same, around 0:
    unrelated).
    """

    @property
    def model_id(self) -> str:
        """The model's id, for people."""

    @property
    def model_name(self) -> str:
        """Names the vectors, by id and fingerprint: those of different names can't be compared."""

    @property
    def dimension(self) -> int:
        """The number of components of a vector."""

    @property
    def pixel_spec(self) -> PixelSpec:
        """What `imaging.decoding.decode` has to make of a picture for this embedder."""

    def embed(self, batch: Sequence[Pixels]) -> Vectors:
        """One vector for each picture, in order. What a picture's vector is doesn't depend on its neighbours.

        Raises `ValueError` for pixels of another shape than `pixel_spec`, and `EmbeddingError` if no vector
        comes out.
        """


class OnnxEmbedder:
    """A network in ONNX Runtime. Any number of threads may call `embed` at once."""

    def __init__(self, spec: ModelSpec, threads: int = 1, providers: Sequence[str] = (CPU,)) -> None:
        """Load the network for these execution providers (see `imaging.session.open_session`); a call computes
        on `threads` cores. Raises `ModelError` if a provider can't be used, or if file and spec don't match.
        """
        self.spec = spec
        self._session = open_session(spec.onnx_path(), threads=threads, providers=providers)
        _check_interface(spec, self._session)
        probe = np.zeros((spec.pixels.height, spec.pixels.width, 3), np.uint8)
        try:
            shape = self.outputs([probe]).shape
        except RUNTIME_ERRORS as error:
            raise ModelError(f"Model {spec.id} can't take this input: {error}") from error
        if shape != (1, spec.dimension):
            raise ModelError(f"Model {spec.id}: the network gives {shape}, the spec says (1, {spec.dimension}).")

    @property
    def model_id(self) -> str:
        """The spec's id."""
        return self.spec.id

    @property
    def model_name(self) -> str:
        """The spec's name."""
        return self.spec.name

    @property
    def dimension(self) -> int:
        """The spec's dimension, which the network was checked to have."""
        return self.spec.dimension

    @property
    def pixel_spec(self) -> PixelSpec:
        """The spec's pixels."""
        return self.spec.pixels

    def embed(self, batch: Sequence[Pixels]) -> Vectors:
        """See `Embedder.embed`. Raises `InferenceOutage` if the network doesn't compute any more: all pictures have
        the shape that it was tried with at the start, and so it is not for want of another picture.
        """
        expected = (self.spec.pixels.height, self.spec.pixels.width, 3)
        for pixels in batch:
            if pixels.shape != expected or pixels.dtype != np.uint8:
                raise ValueError(f"expected uint8 pixels of shape {expected}, got {pixels.dtype} {pixels.shape}")
        try:
            parts = [
                unit_rows(self.outputs(batch[start : start + _RUN_AT_ONCE]))
                for start in range(0, len(batch), _RUN_AT_ONCE)
            ]
        except RUNTIME_ERRORS as error:
            raise InferenceOutage(f"model {self.spec.id} does not compute any more: {error}") from error
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), np.float32)

    def outputs(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """What the network gives for the pictures, in one run and of any length; raises `RUNTIME_ERRORS`."""
        (output,) = self._session.run([self.spec.output], {self.spec.input.name: self.tensor(batch)})
        return np.asarray(output, dtype=np.float32)

    def tensor(self, batch: Sequence[Pixels]) -> Tensor:
        """What the network is given for the pictures."""
        values: Tensor = np.stack(batch)
        if self.spec.input.dtype == "float32":
            values = _normalised(values.astype(np.float32), self.spec.input.normalisation)
        if self.spec.input.layout == "NHWC":
            return values
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def _normalised(values: NDArray[np.float32], normal: Normalisation | None) -> NDArray[np.float32]:
    if normal is None:
        return values
    mean, std = np.asarray(normal.mean, np.float32), np.asarray(normal.std, np.float32)
    return (values / np.float32(255) - mean) / std


def unit_rows(vectors: NDArray[np.float32]) -> Vectors:
    """The rows, each scaled to length 1; raises `EmbeddingError` if one has no direction (NaN, infinite,
    zero).
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths < np.finfo(np.float32).tiny).any():
        raise EmbeddingError("The model gave a vector that is not finite or has no length.")
    return (vectors / lengths).astype(np.float32)


def _check_interface(spec: ModelSpec, session: onnxruntime.InferenceSession) -> None:
    inputs = {value.name: value.type for value in session.get_inputs()}
    outputs = [value.name for value in session.get_outputs()]
    wanted = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}[spec.input.dtype]
    if inputs != {spec.input.name: wanted}:
        raise ModelError(f"Model {spec.id}: the inputs are {inputs}, the spec says {spec.input.name}: {wanted}.")
    if spec.output not in outputs:
        raise ModelError(f"Model {spec.id}: the outputs are {outputs}, the spec says {spec.output}.")
