"""Picture files without the parts that have nothing to do with pixels.

Pillow parses comments, profiles, EXIF, XMP, text chunks and tags while it opens a file, in Python and into
memory. Measured: 3 million TIFF strips keep a core busy for 19 s and take 800 MB; a JPEG of half a megabyte
with a thousand scans takes 68 s. So each file is walked once before, keeping what carries pixels, within
limits no honest file comes near.
"""

import re
import struct
from dataclasses import dataclass

from imaging.errors import Broken, Truncated, UnsupportedFormat

_MAX_SEGMENTS = 10_000
"""JPEG segments hold up to 64 KiB each, so 25 MiB of them are 400."""

_MAX_SCANS = 64
"""libjpeg's own progressive script has 10 scans. Each costs a pass over all coefficients, however short it
is.
"""

_MAX_CHUNKS = 100_000
"""A 25 MiB PNG in chunks of 8 KiB, the usual size, has 3,200."""

_MAX_TAG_VALUES = 200_000
"""The palette of a 16-bit TIFF has 196,608 values; 100 megapixels in tiles of 64 × 64 have 24,415 offsets."""

_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Markers that begin a segment (or end the file); not stuffed zeros, restarts, fill bytes and the start of
an image.
"""

_EOI, _SOS, _APP1, _COM = 0xD9, 0xDA, 0xE1, 0xFE
_APPS = range(0xE0, 0xF0)
_JPEG_KEPT_APPS = (0xE0, 0xEE)
"""APP0 (JFIF) and APP14 (Adobe) decide how colours are coded."""

_MAX_GIF_BLOCKS = 300_000
"""Blocks hold up to 255 bytes, so 25 MiB of them are 102,801."""

_EXTENSION, _FRAME = b"!,"
_GIF_BLOCK = re.compile(rb"[\x21\x2c]")
"""The start of an extension or of a frame; bytes between blocks are skipped, as Pillow does."""

_MAX_RLE_BYTES = 4 * 1024 * 1024
"""Pillow takes about a second for as many."""

_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")

_TIFF_KEPT = frozenset(
    (
        *range(254, 260),
        262,
        266,
        273,
        *range(277, 280),
        284,
        292,
        293,
        317,
        320,
        *range(322, 326),
        332,
        338,
        339,
        347,
    )
) | frozenset((*range(512, 522), *range(529, 533)))
"""The tags that say where the pixels are and how they are coded (TIFF 6.0; 512 to 521 are its old JPEG)."""

_ORIENTATION = 0x0112
_ORIENTATIONS = range(1, 9)
_SHORT = 3


@dataclass(frozen=True, slots=True)
class Lightened:
    """A file that decodes to the same pixels, unturned, and the EXIF orientation (1 to 8) that it had."""

    data: bytes
    orientation: int = 1


def lighten_jpeg(data: bytes) -> Lightened:
    """Drop comments, application segments and what follows the end of the image.

    Raises `Truncated` if there is no scan, `Broken` if there are absurdly many scans or segments.
    """
    kept, orientation, scans, at = [data[:2]], 1, 0, 2
    for _ in range(_MAX_SEGMENTS):
        found = _JPEG_MARKER.search(data, at)
        if scans:
            kept.append(data[at : found.start() if found else len(data)])
        if found is None or data[found.start() + 1] == _EOI:
            break
        start, marker = found.start(), data[found.start() + 1]
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2]))
        scans += marker == _SOS
        if marker == _APP1 and data[start + 4 : start + 10] == b"Exif\0\0" and orientation == 1:
            orientation = exif_orientation(data[start + 10 : at])
        if marker in _JPEG_KEPT_APPS or (marker not in _APPS and marker != _COM):
            kept.append(data[start:at])
    else:
        raise Broken(f"The JPEG file has more than {_MAX_SEGMENTS} segments.")
    if not scans:
        raise Truncated("The JPEG file ends before its picture data.")
    if scans > _MAX_SCANS:
        raise Broken(f"The JPEG file has {scans} scans; {_MAX_SCANS} are allowed.")
    kept.append(b"\xff\xd9" if found else b"")
    return Lightened(b"".join(kept), orientation)


def lighten_png(data: bytes) -> Lightened:
    """Drop every chunk that doesn't carry pixels, palette or transparency; raises `Broken` for absurdly
    many chunks.
    """
    kept, orientation, at = [data[:8]], 1, 8
    for _ in range(_MAX_CHUNKS):
        kind = data[at + 4 : at + 8]
        if not kind:
            break
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if kind == b"eXIf" and orientation == 1:
            orientation = exif_orientation(data[at + 8 : end - 4])
        if kind in _PNG_KEPT:
            kept.append(data[at:end])
        at = end
    else:
        raise Broken(f"The PNG file has more than {_MAX_CHUNKS} chunks.")
    return Lightened(b"".join(kept), orientation)


def lighten_tiff(data: bytes) -> Lightened:
    """Give the file a new only directory, at its end, with the first one's tags that carry pixels.

    Raises `Broken` if the directory can't be read or a tag has absurdly many values.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    pointer_at, pointer, counter, entry = (8, "Q", "Q", "HHQ8s") if big else (4, "L", "H", "HHL4s")
    try:
        (at,) = struct.unpack_from(order + pointer, data, pointer_at)
        (count,) = struct.unpack_from(order + counter, data, at)
        at += struct.calcsize(order + counter)
        table = data[at : at + min(count, 65_535) * struct.calcsize(order + entry)]
        kept, orientation = [], 1
        for tag, kind, values, value in struct.iter_unpack(order + entry, table):
            if tag == _ORIENTATION and kind == _SHORT:
                (orientation,) = struct.unpack_from(order + "H", value)
            elif tag in _TIFF_KEPT and values > _MAX_TAG_VALUES and kind not in (1, 2, 6, 7):
                raise Broken(f"The TIFF file has {values:,} values of one tag.")
            elif tag in _TIFF_KEPT:
                kept.append(struct.pack(order + entry, tag, kind, values, value))
    except (struct.error, OverflowError) as error:
        raise Broken("The TIFF file's directory can't be read.") from error
    directory = struct.pack(order + counter, len(kept)) + b"".join(kept) + struct.pack(order + pointer, 0)
    padded = len(data) + len(data) % 2
    header = data[:pointer_at] + struct.pack(order + pointer, padded)
    lightened = b"".join((header, data[len(header) :], b"\0" * (padded - len(data)), directory))
    return Lightened(lightened, orientation if orientation in _ORIENTATIONS else 1)


def lighten_gif(data: bytes) -> Lightened:
    """Drop comments, application data and all frames but the first; raises `Broken` for absurdly many
    blocks.
    """
    at = 13 + _gif_palette(data[10:11])
    kept = [data[:at]]
    for _ in range(_MAX_SEGMENTS):
        found = _GIF_BLOCK.search(data, at)
        if found is None:
            raise Truncated("The GIF file ends before its first frame.")
        start, kind = found.start(), found.group()[0]
        body = start + (2 if kind == _EXTENSION else 11 + _gif_palette(data[start + 9 : start + 10]))
        at = _after_gif_blocks(data, body)
        if kind == _FRAME:
            return Lightened(b"".join((*kept, data[start:at], b";")))
        if data[start + 1 : start + 2] == b"\xf9":
            kept.append(data[start:at])
    raise Broken(f"The GIF file has more than {_MAX_SEGMENTS} extensions before its first frame.")


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


def exif_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) in an EXIF block; 1 where there is none or it makes no sense.

    EXIF 2.32, section 4.6.4: tag 0x0112 of the first directory, type SHORT, count 1. Nothing else of the
    block is read.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}L", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, values, value = struct.unpack_from(f"{order}HHLH", exif, entry)
            if (tag, kind, values) == (_ORIENTATION, _SHORT, 1):
                return int(value) if value in _ORIENTATIONS else 1
    except struct.error:
        return 1
    return 1
