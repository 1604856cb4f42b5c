"""A file to the pixels that a model looks at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.limits import DecodeLimits
from imaging.model_spec import PixelSpec
from imaging.raster import Raster, read
from imaging.sniffing import Format

Pixels = NDArray[np.uint8]
"""One picture at a model's input size: uint8 [height, width, 3], RGB."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """A picture as the catalog and the model need it. `width` and `height` are of the upright picture in
    its file.
    """

    width: int
    height: int
    format: Format
    content_type: str
    pixels: Pixels


_CONTENT_TYPES: dict[Format, str] = {
    "ico": "image/vnd.microsoft.icon",
    "psd": "image/vnd.adobe.photoshop",
    "raw": "image/x-raw",
}
"""The formats whose media type isn't called after them."""


def content_type_of(kind: Format) -> str:
    """The media type of a format; camera raw files, which have as many as makers, share one."""
    return _CONTENT_TYPES.get(kind, f"image/{kind}")


def decode(data: bytes, limits: DecodeLimits, pixels: PixelSpec) -> DecodedImage:
    """Check and decode a picture file, and fit it to a model's input. The same bytes always give the same
    pixels.

    The first frame counts; EXIF orientation is applied; transparency is put on white; colour profiles are
    ignored. Plain computing, safe in any thread; how much memory it takes is said in `imaging.raster`.
    Raises `UndecodableImage`, and nothing else whatever the bytes are.
    """
    raster = read(data, limits, pixels.width, pixels.height)
    fitted = _fit(raster, pixels)
    return DecodedImage(
        width=raster.width,
        height=raster.height,
        format=raster.format,
        content_type=content_type_of(raster.format),
        pixels=np.ascontiguousarray(np.asarray(fitted)),
    )


def _fit(raster: Raster, pixels: PixelSpec) -> Image.Image:
    reduced = raster.rgb
    across, down = 1.0, 1.0
    if pixels.resize == "crop":
        # Shares of the picture's own sides, since the two may have been reduced by different factors.
        scale = min(raster.width / pixels.width, raster.height / pixels.height)
        across, down = pixels.width * scale / raster.width, pixels.height * scale / raster.height
    left, top = reduced.width * (1 - across) / 2, reduced.height * (1 - down) / 2
    box = (left, top, reduced.width - left, reduced.height - top)
    return reduced.resize((pixels.width, pixels.height), Image.Resampling.BILINEAR, box)
