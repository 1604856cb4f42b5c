"""Sizes and costs that pictures declare, read before the libraries that decode them see a byte."""

import struct
from typing import NamedTuple

from imaging.errors import Broken, TooManyPixels, Truncated, UnsupportedFormat

_MAX_BOXES = 1_000
_JXL_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_MAX_CHANNELS = 4
"""Three colours and transparency."""

_J2K_START = b"\xff\x4f\xff\x51"
_MAX_J2K_TILES = 10_000

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


class JxlHeader(NamedTuple):
    """The size of a JPEG XL picture, before it is turned."""

    width: int
    height: int


def jxl_header(data: bytes) -> JxlHeader:
    """What a JPEG XL file declares (ISO/IEC 18181-1, annex D).

    Raises `UnsupportedFormat` for animations and for channels beyond colour and transparency, `Truncated`.
    """
    bits = _Bits(_jxl_codestream(data)[2:64])
    width, height = _jxl_size(bits)
    if bits.read(1):
        return JxlHeader(width, height)
    if bits.read(1):
        bits.read(3)
        if bits.read(1):
            _jxl_size(bits)
        if bits.read(1):
            raise UnsupportedFormat("The file is a JPEG XL picture with a preview, which is not supported.")
        if bits.read(1):
            raise UnsupportedFormat("The file is an animated JPEG XL picture, which is not supported.")
    if bits.read(1):
        bits.choose((32, 0), (16, 0), (24, 0), (1, 6))
        bits.read(4)
    else:
        bits.choose((8, 0), (10, 0), (12, 0), (1, 6))
    bits.read(1)
    if bits.choose((0, 0), (1, 0), (2, 4), (1, 12)) > 1:
        raise UnsupportedFormat("The file is a JPEG XL picture of more than four channels, which is not supported.")
    return JxlHeader(width, height)


def _jxl_codestream(data: bytes) -> bytes:
    if not data.startswith(_JXL_CONTAINER):
        return data
    at = len(_JXL_CONTAINER)
    for _ in range(_MAX_BOXES):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if kind in (b"jxlc", b"jxlp"):
            start = at + (16 if size == 1 else 8) + (4 if kind == b"jxlp" else 0)
            return data[start : start + 64]
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        if size < 8:  # noqa: PLR2004 -- a box's own header
            break
        at += size
    raise Truncated("The JXL file ends before its picture data.")


def _jxl_size(bits: "_Bits") -> tuple[int, int]:
    small = bits.read(1)
    height = _jxl_side(bits, small)
    ratio = bits.read(3)
    if ratio:
        across, down = _RATIOS[ratio]
        return height * across // down, height
    return _jxl_side(bits, small), height


def _jxl_side(bits: "_Bits", small: int) -> int:
    return 8 * (bits.read(5) + 1) if small else bits.choose((1, 9), (1, 13), (1, 18), (1, 30))


class _Bits:
    """Bits of a JPEG XL codestream, the least significant of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        """The next bits as a number; raises `Truncated`."""
        if count > self._left:
            raise Truncated("The JXL file ends within its header.")
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        self._left -= count
        return value

    def choose(self, *options: tuple[int, int]) -> int:
        """A number (U32): two bits choose an offset, and how many more bits are added to it."""
        offset, more = options[self.read(2)]
        return offset + self.read(more)


def check_jp2(data: bytes, size: tuple[int, int]) -> None:
    """Hold a JPEG 2000 codestream (ISO/IEC 15444-1, A.5.1) to the size that its container declares.

    Raises `Broken` if it has another or so many tiles that listing them takes a core, `UnsupportedFormat` for more
    than four channels.
    """
    at = data.find(_J2K_START)
    try:
        right, bottom, left, top, wide, high, tiles_left, tiles_top, channels = struct.unpack_from(
            ">8LH", data, at + len(_J2K_START) + 4
        )
    except struct.error as error:
        raise Truncated("The JP2 file ends within its header.") from error
    if at < 0 or (right - left, bottom - top) != size or not wide or not high:
        raise Broken("The JP2 file declares two different sizes.")
    if -(-(right - tiles_left) // wide) * -(-(bottom - tiles_top) // high) > _MAX_J2K_TILES:
        raise Broken(f"The JP2 file has more than {_MAX_J2K_TILES:,} tiles.")
    if channels > _MAX_CHANNELS:
        raise UnsupportedFormat("The file is a JPEG 2000 picture of more than four channels, which is not supported.")


def largest_icon(data: bytes) -> bytes:
    """The picture of the most pixels (then of the most bits) within an ICO file: a PNG, or a bitmap without its file
    header.

    Raises `Truncated` if it isn't there.
    """
    count = min(int.from_bytes(data[4:6], "little"), 255)
    entries = list(struct.iter_unpack("<BBBBHHLL", data[6 : 6 + 16 * min(count, (len(data) - 6) // 16)]))
    if not entries:
        raise Truncated("The ICO file ends before its first picture.")
    entry = max(entries, key=lambda one: ((one[0] or 256) * (one[1] or 256), one[5]))
    picture = data[entry[7] : entry[7] + entry[6]]
    if len(picture) < 40:  # noqa: PLR2004 -- the smallest header of a bitmap
        raise Truncated("The ICO file ends before its largest picture.")
    return picture


def check_icon_bitmap(picture: bytes) -> None:
    """Raises `TooManyPixels` for a bitmap of more than 1,024 × 1,024; icons of today end at 256."""
    width, height = struct.unpack_from("<ll", picture, 4)
    if not (0 < width <= 1024 and 0 < height <= 2048):  # noqa: PLR2004 -- as said above; the mask doubles the height
        raise TooManyPixels(f"The icon is {width} × {height // 2}; at most 1,024 × 1,024 are allowed.")
