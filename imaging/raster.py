"""From untrusted bytes to a small, upright RGB picture, with the limits held before any pixel is decoded.

Memory: all threads of a process that decode under the same limits stay together within
`DecodeLimits.max_memory`, and each of them takes at most two copies of its file, 32 MiB and its reduced
picture beside that.
What a picture takes is estimated from its header, at so many bytes a pixel;
tests/unit/imaging/test_memory.py holds the estimates against the process's real peak.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PsdImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from imaging import isolated
from imaging.colour import deep_range, on_ground, to_premultiplied, to_rgb
from imaging.containers import check_bmp, lighten_gif, lighten_ico, lighten_png, lighten_psd
from imaging.errors import (
    Broken,
    EmptyFile,
    TooManyBytes,
    TooManyPixels,
    Truncated,
    UndecodableImage,
    UnsupportedFormat,
)
from imaging.headers import check_jp2
from imaging.jpeg import lighten_jpeg, with_end
from imaging.lightened import Lightened, exif_orientation
from imaging.limits import DecodeLimits, check_area, check_memory
from imaging.memory import MemoryBudget
from imaging.sniffing import FUJI_RAW, Format, format_of
from imaging.tiff import fuji_preview, lighten_tiff, panasonic_preview

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
    "jp2": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "ico": IcoImagePlugin.IcoImageFile,
    "psd": PsdImagePlugin.PsdImageFile,
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
    """Decode the first frame, upright, reduced by whole factors but to no less than `width` × `height`.

    A side that is shorter than that is left as it is. Raises `UndecodableImage`, and nothing else whatever
    the bytes are.
    """
    if not data:
        raise EmptyFile("The file is empty.")
    if len(data) > limits.max_bytes:
        raise TooManyBytes(f"The file has {len(data):,} bytes; at most {limits.max_bytes:,} are allowed.")
    kind = format_of(data)
    with _failures_are_facts(data, kind):
        if kind in isolated.FORMATS:
            picture = isolated.read(data, kind, limits, (width, height), _memory)
            small = _reduce_decoded(picture.image, width, height)
            return Raster(*picture.size, kind, small)
        lightened = _LIGHTEN[kind](data)
        if kind == "tiff" and lightened.decoder == "jpeg":
            kind = "raw"
        if not lightened.ends:
            return _read_endless(lightened, kind, limits, (width, height))
        return _read(lightened, kind, limits, (width, height))


def _read(lightened: Lightened, kind: Format, limits: DecodeLimits, target: tuple[int, int]) -> Raster:
    width, height = target
    with _open(lightened.data, lightened.decoder or kind) as image:
        orientation, size = _orientation(image, lightened), image.size
        if orientation in _ON_THEIR_SIDE:
            width, height = height, width
        memory = _check_size(image, lightened.decoder or kind, limits, (width, height))
        with _memory.reserve(memory, limits.max_memory):
            small = _load_reduced(image, width, height, inverted=lightened.inverted)
    if orientation in _TRANSPOSITIONS:
        small = small.transpose(_TRANSPOSITIONS[orientation])
    upright = (size[1], size[0]) if orientation in _ON_THEIR_SIDE else size
    return Raster(upright[0], upright[1], kind, small)


_FILLING = b"\x5a\xa5" * 64
"""Decodes to something else than the zeros that libjpeg takes for what is missing."""


def _read_endless(lightened: Lightened, kind: Format, limits: DecodeLimits, target: tuple[int, int]) -> Raster:
    """A JPEG without its end marker is whole if its pixels don't depend on what follows it; else `Truncated`."""
    one, other = (
        _read(replace(lightened, data=with_end(lightened.data, filling)), kind, limits, target)
        for filling in (b"", _FILLING)
    )
    if ImageChops.difference(one.rgb, other.rgb).getbbox() is not None:
        raise Truncated("The JPEG file ends before the picture does.")
    return one


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
    "jp2": Lightened,
    "ico": lighten_ico,
    "psd": lighten_psd,
    "raw": lambda data: fuji_preview(data) if data.startswith(FUJI_RAW) else panasonic_preview(data),
}


_FEATURES = {"avif": "avif", "webp": "webp", "jp2": "jpg_2000"}
"""What Pillow may have been built without."""


def _open(data: bytes, kind: Format) -> ImageFile.ImageFile:
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


def _orientation(image: ImageFile.ImageFile, lightened: Lightened) -> int:
    exif = image.info.get("exif")
    return exif_orientation(exif) if isinstance(exif, bytes) else lightened.orientation


def _check_size(image: ImageFile.ImageFile, kind: Format, limits: DecodeLimits, target: tuple[int, int]) -> int:
    """Hold the limits, choose the scale that a JPEG is decoded at, and return the memory estimated for it."""
    width, height = image.size
    check_area(width, height, limits)
    full = width * height
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(None, target)
    memory = _estimate(image, kind, full) + _reduced_bytes(image, target)
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


def _reduced_bytes(image: ImageFile.ImageFile, target: tuple[int, int]) -> int:
    across, down = _factors(image, target)
    return 4 * (image.width // across) * (image.height // down)


def _factors(image: Image.Image, target: tuple[int, int]) -> tuple[int, int]:
    return max(1, image.width // target[0]), max(1, image.height // target[1])


def _load_reduced(image: Image.Image, width: int, height: int, *, inverted: bool) -> Image.Image:
    image.load()
    return _reduce_decoded(image, width, height, inverted=inverted)


def _reduce_decoded(image: Image.Image, width: int, height: int, *, inverted: bool = False) -> Image.Image:
    if image.has_transparency_data and not _is_opaque(image):
        reduced = _in_strips(image, (width, height), "RGBa", to_premultiplied)
        if reduced.getchannel("a").getbbox():
            return on_ground(reduced)
        # An alpha channel that nobody wrote: browsers show such bitmaps as opaque.
        return _in_strips(image, (width, height), "RGB", lambda strip: strip.convert("RGBA").convert("RGB"))
    deep = deep_range(image, inverted=inverted)
    return _in_strips(image, (width, height), "RGB", lambda strip: to_rgb(strip, deep))


def _is_opaque(image: Image.Image) -> bool:
    """Whether nothing of it is transparent, as in most screenshots: told of pictures with an alpha channel only."""
    rows = max(1, _STRIP_PIXELS // image.width)
    return image.mode == "RGBA" and all(
        image.crop((0, top, image.width, min(image.height, top + rows))).getchannel("A").getextrema() == (255, 255)
        for top in range(0, image.height, rows)
    )


def _in_strips(
    image: Image.Image, target: tuple[int, int], mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    across, down = _factors(image, target)
    rows = down * max(1, _STRIP_PIXELS // (image.width * down))
    reduced = Image.new(mode, (-(-image.width // across), -(-image.height // down)))
    for top in range(0, image.height, rows):
        strip = convert(image.crop((0, top, image.width, min(image.height, top + rows))))
        reduced.paste(strip.reduce((across, down)), (0, top // down))
    return reduced
