"""Small JPEGs for people to look at."""

import io

from PIL import Image

from imaging.limits import DecodeLimits
from imaging.raster import read

CONTENT_TYPE = "image/jpeg"
MAX_SIZE = 2048
"""Pixels of the longer side."""


def thumbnail(data: bytes, limits: DecodeLimits, size: int = 320) -> bytes:
    """A JPEG of the upright picture whose longer side is at most `size`; never larger than the picture
    itself.

    It carries no metadata, and its colours are sRGB. Of a picture whose file was cut short it shows what is there. Safe
    in any thread, and deterministic. Raises `UndecodableImage` for bytes that can't be decoded under the limits, and
    `ValueError` for a size outside 1 to 2,048.
    """
    if not 1 <= size <= MAX_SIZE:
        raise ValueError(f"a thumbnail's size is 1 to {MAX_SIZE} pixels, not {size}")
    raster = read(data, limits, 2 * size, 2 * size)
    scale = min(1.0, size / max(raster.shown))
    fitted = (max(1, round(raster.shown[0] * scale)), max(1, round(raster.shown[1] * scale)))
    out = io.BytesIO()
    raster.rgb.resize(fitted, Image.Resampling.LANCZOS).save(out, "JPEG", quality=82, optimize=True)
    return out.getvalue()
