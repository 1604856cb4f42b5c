"""What was done to a picture, told from how it lies on its copy: slugs and numbers, of which the page makes words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.local_match import LocalMatch

_SIDE: Final = 160
"""Pixels of the longer side of what colours are compared on."""
_COVERED: Final = 0.99
"""A pixel belongs to both pictures from this share of it on."""
_WHOLE: Final = 0.95
"""Less of a picture's area is a part of it."""
_PLAIN: Final = 6
"""Levels by which what lies around may differ (its standard deviation) and is a border of one colour."""
_LEAST_TURN: Final = 2
"""Degrees. Less is the measurement's own error, and so are the least moves of brightness and colours, in levels."""
_LEAST_LIGHT: Final = 12
_LEAST_SHIFT: Final = 10
_COLOURFUL, _GREY = 6, 4.0
"""Levels that a pixel's channels lie apart, at the mean: of pictures with colours, and of those without, as in JPEG."""
_Matrix = NDArray[np.float64]
_Pixels = NDArray[np.float32]


class ChangeKind(StrEnum):
    """What may have become of a picture. What the number beside it says is told in brackets."""

    MIRRORED = "mirrored"
    """Left and right are exchanged [1]."""
    TURNED = "turned"
    """[degrees clockwise, above -180 to 180]"""
    STRETCHED = "stretched"
    """[how many times one direction was scaled more than the other]"""
    CROPPED = "cropped"
    """[the share of the picture's area that is left]"""
    BORDERED = "bordered"
    """It has one colour around it [its share of the other's area]."""
    INSET = "inset"
    """It lies in a picture of something else [its share of the other's area]."""
    GREY = "grey"
    """Its colours are gone [1]."""
    COLOURED = "coloured"
    """It was grey and has colours [1]."""
    BRIGHTER = "brighter"
    """[levels of 255]"""
    DARKER = "darker"
    """[levels of 255]"""
    RECOLOURED = "recoloured"
    """[levels of 255 by which the colours moved against each other]"""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was done to a picture; what `value` says is told in `ChangeKind`."""

    kind: ChangeKind
    value: float


def changes(match: LocalMatch, query: Image.Image, other: Image.Image) -> tuple[Change, ...]:
    """How the other differs from the query, of which thumbnails of any size are enough."""
    size, other_size = _fitted(query), _fitted(other)
    unit = np.asarray(match.transform).reshape(3, 3)
    matrix = np.diag([*other_size, 1]) @ unit @ np.diag([1 / size[0], 1 / size[1], 1])
    one, two = _pixels(query, size), _pixels(other, other_size)
    warped = np.asarray(cv2.warpAffine(one, matrix[:2], other_size, flags=cv2.INTER_LINEAR), np.float32)
    covered = cv2.warpAffine(np.ones(one.shape[:2], np.float32), matrix[:2], other_size) > _COVERED
    return (*_of_shape(match, matrix), *_of_frame(match, two, covered), *_of_colours(warped[covered], two[covered]))


def _fitted(picture: Image.Image) -> tuple[int, int]:
    scale = _SIDE / max(picture.size)
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))


def _pixels(picture: Image.Image, size: tuple[int, int]) -> _Pixels:
    return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BOX), np.float32)


def _of_shape(match: LocalMatch, matrix: _Matrix) -> list[Change]:
    found = [Change(ChangeKind.MIRRORED, 1.0)] if match.mirrored else []
    linear = matrix[:2, :2] @ np.diag([-1.0 if match.mirrored else 1.0, 1.0])
    turn = float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])))
    if abs(turn) >= _LEAST_TURN:
        found.append(Change(ChangeKind.TURNED, round(turn, 1)))
    large, small = np.linalg.svd(linear, compute_uv=False)
    if large > 1.08 * small:
        found.append(Change(ChangeKind.STRETCHED, round(float(large / small), 2)))
    return found


def _of_frame(match: LocalMatch, other: _Pixels, covered: NDArray[np.bool_]) -> list[Change]:
    found = []
    if match.query_overlap < _WHOLE:
        found.append(Change(ChangeKind.CROPPED, round(match.query_overlap, 3)))
    if match.other_overlap < _WHOLE:
        # What the picture's own edge bleeds into is left out.
        around = cv2.dilate(covered.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
        plain = around.any() and float(other[around].std(axis=0).max()) < _PLAIN
        found.append(Change(ChangeKind.BORDERED if plain else ChangeKind.INSET, round(match.other_overlap, 3)))
    return found


def _of_colours(query: _Pixels, other: _Pixels) -> list[Change]:
    if not len(query):
        return []
    found = []
    strong, other_strong = _colourfulness(query), _colourfulness(other)
    if _lost_its_colours(strong, other_strong):
        found.append(Change(ChangeKind.GREY, 1.0))
    elif _lost_its_colours(other_strong, strong):
        found.append(Change(ChangeKind.COLOURED, 1.0))
    moved = np.median(other - query, axis=0)
    light = float(moved @ (0.299, 0.587, 0.114))
    if abs(light) >= _LEAST_LIGHT:
        found.append(Change(ChangeKind.BRIGHTER if light > 0 else ChangeKind.DARKER, round(abs(light), 1)))
    apart = float(moved.max() - moved.min())
    if not found and apart >= _LEAST_SHIFT:
        found.append(Change(ChangeKind.RECOLOURED, round(apart, 1)))
    return found


def _colourfulness(pixels: _Pixels) -> float:
    """How far apart a pixel's channels are at the mean, in levels."""
    red, green, blue = np.ascontiguousarray(pixels.T)
    return float((np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)).mean())


def _lost_its_colours(before: float, after: float) -> bool:
    """By their colourfulness."""
    return before >= _COLOURFUL and after < min(_GREY, before / 3)
