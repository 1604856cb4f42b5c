"""Decoding and embedding in no time, for tests of all that is around them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from imaging.decoding import DecodedImage, Pixels
from schemas.collection import VIEWS, ViewLayout
from stores.vectors.ports import Vector

MODEL: Final = "model"
DIMENSION: Final = 4


def embedding_of(data: bytes) -> Vector:
    """A unit vector of its own for each picture."""
    raw = np.frombuffer(hashlib.sha256(data).digest()[: 2 * DIMENSION], dtype=np.uint16).astype(np.float32) - 32768
    return (raw / np.linalg.norm(raw)).astype(np.float32)


def view_of(data: bytes, number: int) -> bytes:
    """What stands for a view of a picture, by its number from 1 on."""
    return data + b" view %d" % number


class PictureInference:
    """Decoding and embedding in no time."""

    pixel_spec = None

    def __init__(self, model_name: str = MODEL) -> None:
        self.model_name = model_name

    async def decode(self, data: bytes, layout: ViewLayout) -> DecodedImage:
        """Pixels that only say which picture it is, and which view of it."""
        views = [np.frombuffer(view_of(data, number), np.uint8) for number in range(1, VIEWS[layout] + 1)]
        return DecodedImage(1, 1, "png", "image/png", np.frombuffer(data, np.uint8), views=views)

    async def embed(self, pictures: Sequence[Pixels]) -> list[Vector]:
        """The embeddings of decoded pictures."""
        return [embedding_of(pixels.tobytes()) for pixels in pictures]
