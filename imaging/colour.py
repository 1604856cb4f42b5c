"""Any of Pillow's pixel modes to plain RGB.

Transparent pixels are composited on white, or on black where white would hide the picture. Embedded colour profiles
are followed later, once the picture is small (`imaging.profiles`). CMYK is converted by the plain formula.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin

_DEEP_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
_FULL_SCALES = (255.0, 65_535.0)
_BITS_TAG = 258

_LIGHT = 208
"""Ink of at least this lightness (of 255) is hardly seen on white."""

_HIDDEN_SHARE = 0.98
"""A picture whose ink is light to this share is put on black."""

_MIN_CLEAR_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class DeepRange:
    """The values of a greyscale picture of more than 8 bits that become black and white; `inverted` exchanges them."""

    low: float
    high: float
    inverted: bool = False


def deep_range(image: Image.Image, *, inverted: bool) -> DeepRange | None:
    """How a 16- or 32-bit greyscale picture becomes one of 8 bits; None for pictures of 8 bits.

    16-bit samples keep their scale: 0 to 65,535, or what the number of bits that a TIFF declares can hold. 32-bit
    ones have none of their own, so it is the smallest of 1 (for floats), 255 and 65,535 that holds the largest
    sample, and the picture's own range beyond those. `inverted` is passed on.
    """
    if image.mode not in _DEEP_MODES:
        return None
    bits = 16
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_BITS_TAG, (16,))[0]
    if image.mode.startswith("I;16"):
        return DeepRange(0.0, float(2 ** min(bits, 16) - 1), inverted)
    low, high = _finite_extremes(image)
    scales = ((1.0, *_FULL_SCALES) if image.mode == "F" else _FULL_SCALES) if low >= 0 else ()
    low, high = next(((0.0, scale) for scale in scales if high <= scale), (low, high))
    return DeepRange(low, high, inverted)


def _finite_extremes(image: Image.Image) -> tuple[float, float]:
    rows = max(1, 1_000_000 // image.width)
    low, high = np.inf, -np.inf
    for top in range(0, image.height, rows):
        strip = np.asarray(image.crop((0, top, image.width, min(image.height, top + rows))))
        finite = strip[np.isfinite(strip)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 1.0)


def to_rgb(image: Image.Image, deep: DeepRange | None) -> Image.Image:
    """This opaque part of a picture as RGB; `deep` is what `deep_range` said of the whole of it."""
    if deep is not None:
        return _from_deep(image, deep)
    if image.mode == "LAB":
        converted = ImageCms.applyTransform(image, _from_lab())
        assert converted is not None
        return converted
    return image if image.mode == "RGB" else image.convert("RGB")


@cache
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


def to_premultiplied(image: Image.Image) -> Image.Image:
    """This part of a transparent picture, its colours multiplied by their alpha, so that it can be reduced."""
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    return rgba.convert("RGBa")


def on_ground(premultiplied: Image.Image) -> Image.Image:
    """A transparent picture on white, or on black where white would hide it: where nearly all that isn't transparent
    is light.
    """
    pixels = np.asarray(premultiplied)
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    ground = 0 if _is_hidden_by_white(colours.astype(np.uint16), alpha[..., 0].astype(np.uint32)) else 1
    return Image.fromarray(colours + ground * (255 - alpha))


def _is_hidden_by_white(colours: NDArray[np.uint16], alpha: NDArray[np.uint32]) -> bool:
    if (alpha < 128).mean() < _MIN_CLEAR_SHARE:  # noqa: PLR2004 -- half of 255
        return False
    darkest = colours.min(axis=2)
    light = alpha[darkest >= alpha * _LIGHT // 255].sum()
    return bool(light >= _HIDDEN_SHARE * alpha.sum())


def _from_deep(image: Image.Image, deep: DeepRange) -> Image.Image:
    # The halves keep the range of the largest floats finite.
    samples = np.asarray(image).astype(np.float64)
    finite = np.clip(np.nan_to_num(samples, copy=False, nan=deep.low), deep.low, deep.high)
    span = (deep.high / 2 - deep.low / 2) or 1.0
    grey = np.rint((finite / 2 - deep.low / 2) / span * 255).astype(np.uint8)
    return Image.fromarray(255 - grey if deep.inverted else grey).convert("RGB")
