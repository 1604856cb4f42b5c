"""Pillow's decoders, opened on what was lightened before: sizes are known then, and no pixel is decoded yet."""

import io

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PsdImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from imaging.errors import UnsupportedFormat
from imaging.headers import check_jp2
from imaging.limits import DecodeLimits, check_area, check_memory
from imaging.quiet import silence_libtiff
from imaging.reducing import factors
from imaging.sniffing import Format

silence_libtiff()

# The classes are used directly, not `Image.open`: they are what it would choose, and it adds a process-wide
# limit on pixels (`Image.MAX_IMAGE_PIXELS`) that only warns at first; here the limits are each call's own.
_PLUGINS: dict[Format, type[ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "jp2": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "ico": IcoImagePlugin.IcoImageFile,
    "psd": PsdImagePlugin.PsdImageFile,
}

_FEATURES = {"avif": "avif", "webp": "webp", "jp2": "jpg_2000"}
"""What Pillow may have been built without."""


def opened(data: bytes, kind: Format) -> ImageFile.ImageFile:
    """The picture, not decoded yet. Raises `UnsupportedFormat`, and whatever Pillow does."""
    feature = _FEATURES.get(kind)
    if feature is not None and not features.check(feature):
        raise UnsupportedFormat(f"{kind.upper()} pictures are not supported by this installation of Pillow.")
    try:
        image = _PLUGINS[kind](io.BytesIO(data))
    except (SyntaxError, NotImplementedError) as error:
        if kind == "tiff" and "unknown" in str(error):
            raise UnsupportedFormat("The TIFF file's samples are of a kind that is not supported.") from error
        raise
    if kind == "jp2":
        check_jp2(data, image.size)
    return image


def checked_memory(
    image: ImageFile.ImageFile, kind: Format, limits: DecodeLimits, target: tuple[int, int], *, frames: int = 1
) -> int:
    """Hold the limits, choose the scale that a JPEG is decoded at, and return the memory estimated for it; with the
    canvas and what it was before, if more than one of its `frames` is decoded.

    Raises `TooManyPixels`.
    """
    width, height = image.size
    check_area(width, height, limits)
    full = width * height
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(None, target)
    across, down = factors(image, target)
    memory = _estimate(image, kind, full) + 4 * (image.width // across) * (image.height // down)
    if frames > 1:
        memory += 12 * full
    check_memory(memory, f"{kind.upper()} picture of {width} × {height}", limits)
    return memory


def _estimate(image: ImageFile.ImageFile, kind: Format, full: int) -> int:
    scaled = image.width * image.height
    native = scaled * {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}.get(image.mode, 4)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        # A progressive file keeps all its coefficients, two bytes each.
        return native + (2 * image.layers * full if "progressive" in image.info else 0)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # A strip may hold all of the pixels, and is decoded beside them.
        tile = int(image.tag_v2.get(322, 0)) * int(image.tag_v2.get(323, 0))
        return 2 * native + 8 * tile
    return {"webp": 16 * full, "avif": 20 * full, "jp2": 24 * full, "psd": 2 * native}.get(kind, native)
