"""Views of a picture: the whole, and parts of it.

A picture's vector tells of its whole. Where the picture that is looked for fills only a part of the query, a view of
that part of the query is near to it, and the whole is not; where the query is a small part of the picture that is
looked for, a view of the content is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.decoding import DecodedImage, Pixels, decoded, fit
from imaging.limits import DecodeLimits
from imaging.model_spec import PixelSpec
from imaging.raster import Raster, read
from schemas.collection import ViewLayout

type Box = tuple[float, float, float, float]
"""Left, top, right and lower edge, as shares of the picture's sides."""

WHOLE: Final[Box] = (0.0, 0.0, 1.0, 1.0)
_SHARE: Final = 0.4
_PLACES: Final = 4
"""Parts have so much of each side, in so many places along each: docs/accuracy.md says what others find."""
_TALL: Final = 2.0
"""From this ratio of its sides on a picture is cut into square tiles."""
_MOST_TILES: Final = 8
_SMALLEST_SIDE: Final = 64
"""Pixels of the shorter side from which on a part shows more than the whole does."""
_LOOKED_AT: Final = 256
"""Pixels of the longer side of what a frame is looked for on."""
_RINGING: Final = 14
"""Levels by which JPEG's ringing differs from the ground at most."""
_CONTENT_GRIDS: Final[Mapping[ViewLayout, tuple[float, int]]] = {"quarters": (0.6, 2), "ninths": (0.5, 3)}
"""Views of a content have so much of each side, in so many places along each."""


def decode_content(data: bytes, limits: DecodeLimits, pixels: PixelSpec, layout: ViewLayout) -> DecodedImage:
    """What `imaging.decoding.decode` makes of a file, with the views of this layout. Raises `UndecodableImage`."""
    raster = read(data, limits, *pixels.reduced_size)
    image = decoded(raster, pixels)
    if layout == "none":
        return image
    return replace(image, views=[_cut(raster, box, pixels) for box in grid(*_CONTENT_GRIDS[layout])])


def decode_with_views(
    data: bytes, limits: DecodeLimits, pixels: PixelSpec, *, parts: bool
) -> tuple[DecodedImage, Sequence[View]]:
    """What `imaging.decoding.decode` makes of a file, and the views beside the whole. Raises `UndecodableImage`."""
    raster = read(data, limits, *pixels.reduced_size)
    return decoded(raster, pixels), _beside_the_whole(raster, pixels, parts=parts)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A part of a picture, at a model's input size. `name` says which: whole, framed, part or tile."""

    name: str
    box: Box
    pixels: Pixels


def views(raster: Raster, pixels: PixelSpec, *, parts: bool = False) -> list[View]:
    """The whole picture first, then what a frame surrounds; with `parts`, also parts in sixteen places, or tiles of a
    long picture, unless it is tiny. The raster was read at `pixels.reduced_size`.
    """
    return [View("whole", WHOLE, _cut(raster, WHOLE, pixels)), *_beside_the_whole(raster, pixels, parts=parts)]


def _beside_the_whole(raster: Raster, pixels: PixelSpec, *, parts: bool) -> list[View]:
    framed = frame(raster.rgb)
    boxes = [("framed", framed)] if framed is not None else []
    if parts and min(raster.width, raster.height) >= _SMALLEST_SIDE:
        long = max(raster.width, raster.height) >= _TALL * min(raster.width, raster.height)
        boxes += [("tile", box) for box in _tiles(raster)] if long else [("part", box) for box in grid(_SHARE, _PLACES)]
    return [View(name, box, _cut(raster, box, pixels)) for name, box in boxes]


def grid(share: float, count: int) -> list[Box]:
    """`count` × `count` boxes that have this share of each side, at even distances, the outermost at the edges."""
    starts = [(1 - share) * place / (count - 1) for place in range(count)]
    return [(left, top, left + share, top + share) for top in starts for left in starts]


def frame(picture: Image.Image) -> Box | None:
    """What lies within a border of one colour, or is the one large block on a screenshot; None where there is none."""
    scale = min(1.0, _LOOKED_AT / max(picture.size))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    pixels = np.asarray(picture.resize(size, Image.Resampling.BOX))
    ground = _ground(pixels)
    inked = (cv2.inRange(pixels, ground - _RINGING, ground + _RINGING) == 0).astype(np.uint8)
    closed = cv2.morphologyEx(inked, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    blocks = [_block(stats[index], inked) for index in range(1, count)]
    return max((block for block in blocks if block is not None), key=_area, default=None)


def _ground(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The colour that most of the picture's flat pixels have."""
    coarse = (pixels >> 3).reshape(-1, 3).astype(np.int32)
    codes = (coarse[:, 0] << 10) | (coarse[:, 1] << 5) | coarse[:, 2]
    most = np.bincount(codes).argmax()
    return np.asarray(np.floor(np.median(pixels.reshape(-1, 3)[codes == most], axis=0)), np.float64)


def _block(stat: NDArray[np.int32], inked: NDArray[np.uint8]) -> Box | None:
    """A component's box, if it is nearly filled, neither small nor nearly the whole, no thin bar, and on the ground:
    what lies just around it is mostly empty.
    """
    left, top, width, height, area = (int(value) for value in stat)
    down, across = inked.shape
    share = width * height / (across * down)
    if area < 0.8 * width * height or not 0.03 < share < 0.9 or max(width, height) > 4 * min(width, height):  # noqa: PLR2004
        return None
    # Two pixels away: the outermost ones are mixed with the ground.
    wide = inked[max(0, top - 4) : top + height + 4, max(0, left - 4) : left + width + 4]
    near = inked[max(0, top - 2) : top + height + 2, max(0, left - 2) : left + width + 2]
    around = wide.size - near.size
    if around == 0 or int(wide.sum()) - int(near.sum()) > 0.25 * around:
        return None
    return left / across, top / down, (left + width) / across, (top + height) / down


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _tiles(raster: Raster) -> Sequence[Box]:
    """Squares along the longer side, each half over the next, at most eight."""
    ratio = max(raster.width, raster.height) / max(1, min(raster.width, raster.height))
    count = min(_MOST_TILES, max(2, round(2 * ratio) - 1))
    share = max(1 / ratio, 2 / (count + 1))
    starts = [(1 - share) * place / (count - 1) for place in range(count)]
    if raster.width > raster.height:
        return [(start, 0.0, start + share, 1.0) for start in starts]
    return [(0.0, start, 1.0, start + share) for start in starts]


def _cut(raster: Raster, box: Box, pixels: PixelSpec) -> Pixels:
    if box != WHOLE:
        left, top, right, bottom = box
        across, down = raster.rgb.size
        corners = round(left * across), round(top * down), round(right * across), round(bottom * down)
        part = raster.rgb.crop((*corners[:2], max(corners[0] + 1, corners[2]), max(corners[1] + 1, corners[3])))
        sides = max(1, round((right - left) * raster.width)), max(1, round((bottom - top) * raster.height))
        raster = replace(raster, width=sides[0], height=sides[1], rgb=part)
    return np.ascontiguousarray(np.asarray(fit(raster, pixels)))
