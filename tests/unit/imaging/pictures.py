"""Pictures, honest and hostile, made for the tests."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from imaging.limits import DecodeLimits
from imaging.model_spec import PixelSpec

LIMITS = DecodeLimits()
SMALL = PixelSpec(width=32, height=32)
ORIENTATION = 0x0112


def photo(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """A picture whose four corners and sides are all different."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    wave = 0.5 + 0.5 * np.sin(9 * x + 5 * y * y + seed)
    pixels = np.stack([x, 0.8 * y + 0.1, wave], axis=2) * 255
    return Image.fromarray(pixels.astype(np.uint8))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The file that Pillow makes of it."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def with_orientation(image: Image.Image, kind: str, orientation: int, **options: Any) -> bytes:
    """A file with this EXIF orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(image, kind, exif=exif, **options)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk with its checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width: int, height: int, data: bytes, *, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """A PNG with this header and these uncompressed rows; `extra` chunks come before them."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    rows = png_chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + header + extra + rows + png_chunk(b"IEND", b"")


def tiff(entries: list[tuple[int, int, int, int]], rest: bytes = b"") -> bytes:
    """A little-endian TIFF whose directory has these (tag, type, count, value) entries."""
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", 0) + rest
