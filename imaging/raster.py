"""From untrusted bytes to a small, upright RGB picture, with the limits held before any pixel is decoded.

Memory: all threads of a process that decode under the same limits stay together within
`DecodeLimits.max_memory`, and each of them takes at most two copies of its file and 32 MiB beside that.
What a picture takes is estimated from its header, at so many bytes a pixel;
tests/unit/imaging/test_memory.py holds the estimates against the process's real peak.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from imaging.colour import deep_range, to_rgb
from imaging.containers import (
    Lightened,
    check_bmp,
    exif_orientation,
    lighten_gif,
    lighten_jpeg,
    lighten_png,
    lighten_tiff,
)
from imaging.errors import (
    Broken,
    EmptyFile,
    TooManyBytes,
    TooManyPixels,
    Truncated,
    UndecodableImage,
    UnsupportedFormat,
)
from imaging.limits import DecodeLimits
from imaging.memory import MemoryBudget
from imaging.sniffing import Format, format_of

# Pillow warns about odd metadata. A picture's oddities are not this process's, and
# `warnings.catch_warnings` is not safe among threads before Python 3.14.
warnings.filterwarnings("ignore", module=r"PIL\.")

_memory = MemoryBudget()

_STRIP_PIXELS = 250_000
"""Pictures are converted and reduced in strips of about this many pixels, since a conversion needs several
copies.
"""

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
}

_ON_THEIR_SIDE = range(5, 9)
"""The EXIF orientations that exchange width and height."""

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Raster:
    """A picture's first frame: upright size and format, and its pixels, reduced."""

    width: int
    height: int
    format: Format
    rgb: Image.Image


def read(data: bytes, limits: DecodeLimits, width: int, height: int) -> Raster:
    """Decode the first frame, upright, reduced by whole factors but to no less than twice `width` × `height`.

    A side that is shorter than that is left as it is. Raises `UndecodableImage`, and nothing else whatever
    the bytes are.
    """
    if not data:
        raise EmptyFile("The file is empty.")
    if len(data) > limits.max_bytes:
        raise TooManyBytes(f"The file has {len(data):,} bytes; at most {limits.max_bytes:,} are allowed.")
    kind = format_of(data)
    with _failures_are_facts(data, kind):
        lightened = _LIGHTEN[kind](data)
        with _open(lightened.data, kind) as image:
            orientation, size = _orientation(image, lightened), image.size
            if orientation in _ON_THEIR_SIDE:
                width, height = height, width
            memory = _check_size(image, kind, limits, (2 * width, 2 * height))
            with _memory.reserve(memory, limits.max_memory):
                small = _load_reduced(image, 2 * width, 2 * height)
    if orientation in _TRANSPOSITIONS:
        small = small.transpose(_TRANSPOSITIONS[orientation])
    upright = (size[1], size[0]) if orientation in _ON_THEIR_SIDE else size
    return Raster(upright[0], upright[1], kind, small)


@contextmanager
def _failures_are_facts(data: bytes, kind: Format) -> Iterator[None]:
    try:
        yield
    except UndecodableImage:
        raise
    except MemoryError as error:
        raise TooManyPixels("The picture needs more memory than there is.") from error
    except Exception as error:
        # Pillow's plugins raise a dozen kinds of errors on hostile bytes (OSError, SyntaxError, ValueError,
        # struct.error, EOFError, IndexError, OverflowError, …), and all of them mean the same: these bytes
        # can't be decoded.
        if "truncated" in str(error).lower() or isinstance(error, EOFError) or _ends_early(data, kind):
            raise Truncated(f"The {kind.upper()} file ends before the picture does.") from error
        raise Broken(f"The {kind.upper()} file is broken and can't be decoded.") from error


def _ends_early(data: bytes, kind: Format) -> bool:
    if kind == "webp":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if kind == "bmp":
        return len(data) < int.from_bytes(data[2:6], "little")
    return kind == "png" and b"IEND" not in data


_LIGHTEN: dict[Format, Callable[[bytes], Lightened]] = {
    "jpeg": lighten_jpeg,
    "png": lighten_png,
    "tiff": lighten_tiff,
    "gif": lighten_gif,
    "bmp": check_bmp,
    "webp": Lightened,
    "avif": Lightened,
}


def _open(data: bytes, kind: Format) -> ImageFile.ImageFile:
    if kind in ("avif", "webp") and not features.check(kind):
        raise UnsupportedFormat(f"{kind.upper()} pictures are not supported by this installation.")
    return _PLUGINS[kind](io.BytesIO(data))


def _orientation(image: ImageFile.ImageFile, lightened: Lightened) -> int:
    exif = image.info.get("exif")
    return exif_orientation(exif) if isinstance(exif, bytes) else lightened.orientation


def _check_size(image: ImageFile.ImageFile, kind: Format, limits: DecodeLimits, target: tuple[int, int]) -> int:
    """Hold the limits, choose the scale that a JPEG is decoded at, and return the memory estimated for it."""
    width, height = image.size
    if max(width, height) > limits.max_side:
        raise TooManyPixels(f"The picture is {width} × {height}; no side may exceed {limits.max_side:,} pixels.")
    if width * height > limits.max_pixels:
        raise TooManyPixels(f"The picture is {width} × {height}; at most {limits.max_pixels:,} pixels are allowed.")
    full = width * height
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(None, target)
    memory = _estimate(image, kind, full)
    if memory > limits.max_memory:
        raise TooManyPixels(
            f"Decoding this {kind.upper()} picture of {width} × {height} takes {memory:,} bytes of memory; "
            f"at most {limits.max_memory:,} are allowed."
        )
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
    return {"webp": 16 * full, "avif": 20 * full}.get(kind, native)


def _load_reduced(image: ImageFile.ImageFile, width: int, height: int) -> Image.Image:
    image.load()
    across, down = max(1, image.width // width), max(1, image.height // height)
    rows = down * max(1, _STRIP_PIXELS // (image.width * down))
    deep = deep_range(image)
    reduced = Image.new("RGB", (-(-image.width // across), -(-image.height // down)))
    for top in range(0, image.height, rows):
        strip = to_rgb(image.crop((0, top, image.width, min(image.height, top + rows))), deep)
        reduced.paste(strip.reduce((across, down)), (0, top // down))
    return reduced
