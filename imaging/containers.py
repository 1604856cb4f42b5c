"""Picture files without the parts that have nothing to do with pixels.

Pillow parses comments, profiles, EXIF, XMP, text chunks and tags while it opens a file, in Python and into
memory. Measured: 3 million TIFF strips keep a core busy for 19 s and take 800 MB; a JPEG of half a megabyte
with a thousand scans takes 68 s. So each file is walked once before, keeping what carries pixels, within
limits no honest file comes near.
"""

import re
import struct
from dataclasses import replace

from imaging.errors import Broken, Truncated, UnsupportedFormat
from imaging.headers import check_icon_bitmap, largest_icon
from imaging.incomplete import without_zeros
from imaging.lightened import Lightened, exif_orientation
from imaging.profiles import unpacked

_MAX_EXTENSIONS = 10_000
"""Animations have a handful before their first frame."""

_MAX_CHUNKS = 100_000
"""A 25 MiB PNG in chunks of 8 KiB, the usual size, has 3,200."""

_MAX_GIF_BLOCKS = 300_000
"""Blocks hold up to 255 bytes, so 25 MiB of them are 102,801."""

_EXTENSION, _FRAME = b"!,"
_GIF_BLOCK = re.compile(rb"[\x21\x2c]")
"""The start of an extension or of a frame; bytes between blocks are skipped, as Pillow does."""

_MAX_RLE_BYTES = 4 * 1024 * 1024
"""Pillow takes about a second for as many."""

_PNG_KEPT = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT"))
_PNG_FRAMES = frozenset((b"acTL", b"fcTL", b"fdAT"))
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

_PSD_READABLE = frozenset(((0, 1), (1, 8), (2, 8), (3, 8), (4, 8), (8, 8)))
"""Colour mode (bitmap, grey, palette, RGB, CMYK, duotone) and bits a channel."""


def lighten_png(data: bytes) -> Lightened:
    """Drop every chunk that doesn't carry pixels, palette or transparency, and what follows the end (PNG 5.6);
    raises `Broken` for absurdly many chunks.
    """
    return _png_of(data, _PNG_KEPT, 0)


def keep_frames_of_png(data: bytes, most: int) -> Lightened:
    """Likewise, with as many frames of an animation."""
    return _png_of(data, _PNG_KEPT | _PNG_FRAMES, most)


def _png_of(data: bytes, kinds: frozenset[bytes], most: int) -> Lightened:
    if b"IEND" not in data:
        data = without_zeros(data)
    kept, orientation, profile, frames, at = [data[:8]], 1, b"", 0, 8
    for _ in range(_MAX_CHUNKS):
        kind = data[at + 4 : at + 8]
        if not kind:
            break
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if kind == b"eXIf" and orientation == 1:
            orientation = exif_orientation(data[at + 8 : end - 4])
        if kind == b"iCCP" and not profile:
            profile = unpacked(data[at + 8 : end - 4])
        frames += kind == b"fcTL" and kind in kinds
        if kind == b"IEND" or frames > most:
            kept.append(_PNG_END)
            break
        if kind in kinds:
            kept.append(data[at:end])
        at = end
    else:
        raise Broken(f"The PNG file has more than {_MAX_CHUNKS} chunks.")
    return Lightened(b"".join(kept), orientation, profile=profile)


def lighten_gif(data: bytes, *, transparency: bool = True) -> Lightened:
    """Drop comments, application data and all frames but the first, and if wanted what says which colour is
    transparent.

    Raises `Broken` for absurdly many blocks.
    """
    return Lightened(_gif_of(data, 1, transparency=transparency))


def keep_frames_of_gif(data: bytes, most: int) -> Lightened:
    """Likewise, with as many frames; a broken one ends them."""
    return Lightened(_gif_of(data, most, transparency=True))


def _gif_of(data: bytes, most: int, *, transparency: bool) -> bytes:
    at, frames, canvas = 13 + _gif_palette(data[10:11]), 0, _two_shorts(data[6:10])
    kept = [data[:at]]
    for _ in range(_MAX_EXTENSIONS):
        found = _GIF_BLOCK.search(data, at)
        if found is None:
            break
        start, kind = found.start(), found.group()[0]
        body = start + (2 if kind == _EXTENSION else 11 + _gif_palette(data[start + 9 : start + 10]))
        at = _after_gif_blocks(data, body)
        if kind == _FRAME:
            if frames and not _lies_within(data, start, canvas):
                # Pillow would enlarge the canvas, beyond what was looked at.
                break
            canvas = _enlarged(canvas, data, start)
            kept.append(data[start:at])
            frames += 1
            if frames == most:
                break
        elif data[start + 1 : start + 2] == b"\xf9" and transparency:
            kept.append(data[start:at])
    else:
        if not frames:
            raise Broken(f"The GIF file has more than {_MAX_EXTENSIONS} extensions before its first frame.")
    if not frames:
        raise Truncated("The GIF file ends before its first frame.")
    return b"".join((*kept, b";"))


def _two_shorts(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")


def _enlarged(canvas: tuple[int, int], data: bytes, frame: int) -> tuple[int, int]:
    """The canvas with room for this frame, too."""
    (left, top), (width, height) = _two_shorts(data[frame + 1 : frame + 5]), _two_shorts(data[frame + 5 : frame + 9])
    return max(canvas[0], left + width), max(canvas[1], top + height)


def _lies_within(data: bytes, frame: int, canvas: tuple[int, int]) -> bool:
    return _enlarged(canvas, data, frame) == canvas


def _gif_palette(flags: bytes) -> int:
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _after_gif_blocks(data: bytes, at: int) -> int:
    for _ in range(_MAX_GIF_BLOCKS):
        if at >= len(data) or data[at] == 0:
            return at + 1
        at += 1 + data[at]
    raise Broken(f"The GIF file has more than {_MAX_GIF_BLOCKS} blocks in a row.")


def check_bmp(data: bytes) -> Lightened:
    """The file as it is; raises `UnsupportedFormat` for large run-length coded ones, which Pillow decodes
    in Python.
    """
    if len(data) > _MAX_RLE_BYTES and data[30:34] in (b"\1\0\0\0", b"\2\0\0\0"):
        raise UnsupportedFormat(f"The BMP file is run-length coded and has more than {_MAX_RLE_BYTES:,} bytes.")
    return Lightened(data)


def lighten_ico(data: bytes) -> Lightened:
    """An icon with nothing but its largest picture; raises `TooManyPixels` for absurdly large bitmaps, `Truncated`."""
    picture = largest_icon(data)
    if picture.startswith(b"\x89PNG\r\n\x1a\n"):
        return replace(lighten_png(picture), decoder="png")
    check_icon_bitmap(picture)
    width, height = struct.unpack_from("<ll", picture, 4)
    bits = struct.unpack_from("<H", picture, 14)[0]
    entry = struct.pack("<BBBBHHLL", width & 255, height // 2 & 255, 0, 0, 1, bits, len(picture), 22)
    return Lightened(b"\0\0\1\0\1\0" + entry + picture)


def lighten_psd(data: bytes) -> Lightened:
    """The merged picture of a Photoshop document, without its resources and layers; raises `Truncated`,
    `UnsupportedFormat` for modes that Pillow doesn't read.
    """
    try:
        channels, depth, mode = struct.unpack_from(">H", data, 12) + struct.unpack_from(">HH", data, 22)
        at = 26
        colours = data[at : at + 4 + struct.unpack_from(">L", data, at)[0]]
        at += len(colours)
        for _ in ("resources", "layers"):
            at += 4 + struct.unpack_from(">L", data, at)[0]
    except struct.error as error:
        raise Truncated("The PSD file ends before its picture data.") from error
    if (mode, depth) not in _PSD_READABLE:
        raise UnsupportedFormat(f"The Photoshop document has {depth} bits a channel or a mode that is not supported.")
    if channels > 56 or at >= len(data):  # noqa: PLR2004 -- the format's own limit
        raise Truncated("The PSD file ends before its picture data.")
    return Lightened(data[:26] + colours + bytes(8) + data[at:])
