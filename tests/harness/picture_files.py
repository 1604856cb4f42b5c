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


type Xyz = tuple[float, float, float]

PROPHOTO: tuple[Xyz, Xyz, Xyz] = ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249))
ADOBE_RGB: tuple[Xyz, Xyz, Xyz] = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
DISPLAY_P3: tuple[Xyz, Xyz, Xyz] = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))


def icc_profile(colours: tuple[Xyz, Xyz, Xyz], gamma: float) -> bytes:
    """A display's profile of version 2 with these red, green and blue (XYZ under D50)."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65_536)) for value in values)

    white = (0.9642, 1.0, 0.8249)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + bytes(79)
    tags = {b"desc": name, b"wtpt": b"XYZ \0\0\0\0" + fixed(*white)}
    tags |= {b"rgb"[at : at + 1] + b"XYZ": b"XYZ \0\0\0\0" + fixed(*colour) for at, colour in enumerate(colours)}
    tags |= {b"rgb"[at : at + 1] + b"TRC": curve for at in range(3)}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(value))
        body += value
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + fixed(*white)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
