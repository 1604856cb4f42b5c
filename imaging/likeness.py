"""Whether two pictures that lie on each other look alike there, pixel by pixel.

Local features say where the one lies on the other. Whether it is the same picture is seen on small pictures of both,
put on each other: a copy looks alike nearly everywhere, whatever became of its light; another photograph of the same
shelf doesn't.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.local_match import LocalMatch

_TILE: Final = 9
"""Pixels of the side of what is compared at once, around each pixel."""
_TEXTURED: Final = 16.0
"""The variance, in squared levels, from which on there is something to be compared."""
_ALIKE: Final = 0.5
"""Tiles whose levels correlate less differ."""
_FEWEST: Final = 300
"""Of fewer pixels with something around them nothing is said."""
_SMOOTHING: Final = 0.7
"""The Gaussian's sigma, in pixels: places are known to about one pixel."""
_COVERED: Final = 0.99
"""A pixel belongs to both pictures from this share of it on."""

_HALF: Final = np.asarray([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])

_Levels = NDArray[np.float32]
_Matrix = NDArray[np.float64]


def differing(match: LocalMatch, query: Image.Image, other: Image.Image) -> float | None:
    """The share (0 to 1) of what can be compared that differs, of small pictures of the query and of the other.

    None where too little can be compared: little lies on each other, or it is plain.
    """
    one, two = _levels(query), _levels(other)
    matrix = _in_pixels(match, one, two)
    if abs(np.linalg.det(matrix[:2, :2])) > 1:
        # What has more pixels is put on what has fewer.
        one, two, matrix = two, one, np.linalg.inv(matrix)
    size = two.shape[1], two.shape[0]
    put = cv2.warpAffine(_reduced(one, matrix), matrix[:2], size)
    covered = cv2.warpAffine(np.ones_like(one), matrix[:2], size) > _COVERED
    within = cv2.erode(covered.astype(np.uint8), np.ones((_TILE, _TILE), np.uint8)) > 0
    correlation, textured = _correlation(_smoothed(put, _SMOOTHING), _smoothed(two, _SMOOTHING))
    compared = correlation[within & textured]
    return float((compared < _ALIKE).mean()) if len(compared) >= _FEWEST else None


def _levels(picture: Image.Image) -> _Levels:
    return np.asarray(picture.convert("L"), np.float32)


def _in_pixels(match: LocalMatch, query: _Levels, other: _Levels) -> _Matrix:
    """From the query's pixels to the other's, as OpenCV counts them: from the first one's middle on."""
    unit = np.asarray(match.transform).reshape(3, 3)
    pixels = np.diag([other.shape[1], other.shape[0], 1]) @ unit @ np.diag([1 / query.shape[1], 1 / query.shape[0], 1])
    return np.asarray(np.linalg.inv(_HALF) @ pixels @ _HALF, np.float64)


def _reduced(levels: _Levels, matrix: _Matrix) -> _Levels:
    """Smoothed by as much as the matrix will make it smaller."""
    scale = abs(float(np.linalg.det(matrix[:2, :2]))) ** 0.5
    sigma = 0.5 * max(0.0, 1 / max(scale, 1e-3) ** 2 - 1) ** 0.5
    return _smoothed(levels, sigma) if sigma > 0.1 else levels  # noqa: PLR2004 -- less changes nothing


def _smoothed(levels: NDArray[Any], sigma: float) -> _Levels:
    return np.asarray(cv2.GaussianBlur(levels, (0, 0), sigma), np.float32)


def _correlation(one: _Levels, two: _Levels) -> tuple[_Levels, NDArray[np.bool_]]:
    """Of each pixel's tile in both, from -1 to 1, and whether there is something in both."""
    means = _mean(one), _mean(two)
    variances = _mean(one * one) - means[0] ** 2, _mean(two * two) - means[1] ** 2
    together = _mean(one * two) - means[0] * means[1]
    correlation = together / np.sqrt(np.maximum(variances[0], 1) * np.maximum(variances[1], 1))
    return correlation, np.minimum(*variances) > _TEXTURED


def _mean(levels: _Levels) -> _Levels:
    return np.asarray(cv2.boxFilter(levels, -1, (_TILE, _TILE)), np.float32)
