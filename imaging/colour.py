"""Any of Pillow's pixel modes to plain RGB.

Transparent pixels are composited on white. Embedded colour profiles are ignored: what they change is far
below what a model tells apart, and a profile is one more hostile thing to parse. CMYK is converted by the
plain formula.
"""

import numpy as np
from PIL import Image

from imaging.errors import UnsupportedFormat

_DEEP_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
_FULL_SCALES = (255.0, 65_535.0)


def deep_range(image: Image.Image) -> tuple[float, float] | None:
    """The values of a 16- or 32-bit greyscale picture that become black and white; None for pictures of 8
    bits.

    16-bit samples keep their scale (0 to 65,535). 32-bit ones have none of their own, so it is the smallest
    of 1 (for floats), 255 and 65,535 that holds the largest sample, and the picture's own range beyond
    those.
    """
    if image.mode not in _DEEP_MODES:
        return None
    if image.mode.startswith("I;16"):
        return 0.0, 65_535.0
    low, high = _finite_extremes(image)
    scales = ((1.0, *_FULL_SCALES) if image.mode == "F" else _FULL_SCALES) if low >= 0 else ()
    return next(((0.0, scale) for scale in scales if high <= scale), (low, high))


def _finite_extremes(image: Image.Image) -> tuple[float, float]:
    rows = max(1, 1_000_000 // image.width)
    low, high = np.inf, -np.inf
    for top in range(0, image.height, rows):
        strip = np.asarray(image.crop((0, top, image.width, min(image.height, top + rows))))
        finite = strip[np.isfinite(strip)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 1.0)


def to_rgb(image: Image.Image, deep: tuple[float, float] | None) -> Image.Image:
    """This part of a picture as RGB; `deep` is what `deep_range` said of the whole of it.

    Raises `UnsupportedFormat` for colour spaces that have no plain conversion (CIE L*a*b*).
    """
    if deep is not None:
        return _from_deep(image, deep)
    if image.mode == "LAB":
        raise UnsupportedFormat("The picture is in the L*a*b* colour space, which is not supported.")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, (0, 0), rgba)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep(image: Image.Image, deep: tuple[float, float]) -> Image.Image:
    low, high = deep
    # The halves keep the range of the largest floats finite.
    samples = np.asarray(image).astype(np.float64)
    finite = np.clip(np.nan_to_num(samples, copy=False, nan=low), low, high)
    span = (high / 2 - low / 2) or 1.0
    grey = np.rint((finite / 2 - low / 2) / span * 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
