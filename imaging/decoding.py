"""A file to the pixels that a model looks at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.limits import DecodeLimits
from imaging.model_spec import PixelSpec
from imaging.raster import Raster, read
from imaging.sniffing import Format

type Share = tuple[float, float]
"""Where on a side something begins and ends, from 0 to 1."""

Pixels = NDArray[np.uint8]
"""One picture at a model's input size: uint8 [height, width, 3], RGB."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """A picture as the catalog and the model need it. `width` and `height` are of the upright picture in
    its file. Of one whose file was cut short, `share` is how much of its height is there (0.5 to 1), and `pixels` are
    of that part. `views` are parts of the picture, where these were asked for (`imaging.views`).
    """

    width: int
    height: int
    format: Format
    content_type: str
    pixels: Pixels
    share: float | None = None
    views: Sequence[Pixels] = ()


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

    Of an animation the first frame with content counts; EXIF orientation is applied; transparency is put on white, or
    on black where white would hide it; wide gamuts are converted to sRGB. Plain computing, safe in any thread; how much
    memory it takes is said in `imaging.raster`.
    Raises `UndecodableImage`, and nothing else whatever the bytes are.
    """
    return decoded(read(data, limits, *pixels.reduced_size), pixels)


def decoded(raster: Raster, pixels: PixelSpec) -> DecodedImage:
    """What `decode` makes of a file that was read at `pixels.reduced_size`."""
    return DecodedImage(
        width=raster.width,
        height=raster.height,
        format=raster.format,
        content_type=content_type_of(raster.format),
        pixels=np.ascontiguousarray(np.asarray(fit(raster, pixels))),
        share=raster.share,
    )


_LONGEST = 8
"""Of pictures that are longer than so many times their shorter side, only what is cropped is resampled: the whole of
one of 65,535 × 1 would take gigabytes.
"""


def fit(raster: Raster, pixels: PixelSpec) -> Image.Image:
    """The picture at a model's input size, of a raster that was read at `pixels.reduced_size` or more."""
    if pixels.resize_size is not None:
        scaled = _scaled(raster, pixels.resize_size)
        if max(scaled) <= _LONGEST * pixels.resize_size:
            # A box's corners are rounded to 24 bits by Pillow, which moves some values by one level.
            left, top = round((scaled[0] - pixels.width) / 2), round((scaled[1] - pixels.height) / 2)
            whole = raster.rgb.resize(scaled, Image.Resampling.BILINEAR)
            return whole.crop((left, top, left + pixels.width, top + pixels.height))
    (x0, x1), (y0, y1) = _shares(raster, pixels)
    across, down = raster.rgb.size
    box = (x0 * across, y0 * down, x1 * across, y1 * down)
    return raster.rgb.resize((pixels.width, pixels.height), Image.Resampling.BILINEAR, box)


def _shares(raster: Raster, pixels: PixelSpec) -> tuple[Share, Share]:
    """What a model looks at, as shares of the width and of the height: both may have been reduced by other factors."""
    if pixels.resize == "squash":
        return (0.0, 1.0), (0.0, 1.0)
    if pixels.resize_size is None:
        width, height = raster.shown
        scale = min(width / pixels.width, height / pixels.height)
        return _middle(pixels.width * scale / width), _middle(pixels.height * scale / height)
    width, height = _scaled(raster, pixels.resize_size)
    return _centre_cropped(width, pixels.width), _centre_cropped(height, pixels.height)


def _scaled(raster: Raster, shorter_side: int) -> tuple[int, int]:
    shorter = min(raster.shown)
    return shorter_side * raster.shown[0] // shorter, shorter_side * raster.shown[1] // shorter


def _middle(share: float) -> Share:
    return (1 - share) / 2, (1 + share) / 2


def _centre_cropped(side: int, kept: int) -> Share:
    """As torchvision's `CenterCrop` does: from a whole pixel on, halves to the even one."""
    start = round((side - kept) / 2)
    return start / side, (start + kept) / side
