"""Decoded pixels, and how far apart they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaging.decoding import decode
from imaging.model_spec import PixelSpec
from tests.harness.picture_files import LIMITS, SMALL, photo, saved


def pixels_of(data: bytes, spec: PixelSpec = SMALL) -> NDArray[np.int16]:
    """The decoded pixels, as numbers that can be subtracted."""
    return decode(data, LIMITS, spec).pixels.astype(np.int16)


def distance(one: NDArray[np.int16], other: NDArray[np.int16]) -> float:
    """The mean difference of two pictures' channel values."""
    return float(np.abs(one - other).mean())


REFERENCE = pixels_of(saved(photo(), "PNG"))
