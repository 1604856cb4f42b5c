"""Files of formats beyond those that Pillow writes by itself."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pillow_heif
import pillow_jxl  # noqa: F401 -- registers the format for saving
from PIL import Image

from tests.harness.picture_files import saved, tiff

pillow_heif.register_heif_opener()


def psd(image: Image.Image) -> bytes:
    """A Photoshop document of RGB with a resource and a layer section that make no sense."""
    header = b"8BPS" + struct.pack(">H6xHLLHH", 1, 3, image.height, image.width, 8, 3)
    planes = b"".join(channel.tobytes() for channel in image.split())
    return header + bytes(4) + struct.pack(">L", 5) + b"junk!" + struct.pack(">L", 3) + b"abc" + b"\0\0" + planes


def raw(preview: Image.Image) -> bytes:
    """A camera raw file: a thumbnail of 8 × 6 in its first directory, then a JPEG preview and what the sensor saw."""
    jpeg, thumbnail = saved(preview, "JPEG"), bytes(8 * 6 * 3)
    first, children = 8 + 2 + 8 * 12 + 4, 8 + 2 + 8 * 12 + 4 + 8
    preview_at, sensor_at = children, children + 2 + 3 * 12 + 4
    rest_at = sensor_at + 2 + 2 * 12 + 4
    directories = [(254, 4, 1, 0), (513, 4, 1, rest_at + len(thumbnail)), (514, 4, 1, len(jpeg))]
    entries = [
        (254, 4, 1, 1), (256, 4, 1, 8), (257, 4, 1, 6), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 1, rest_at), (279, 4, 1, len(thumbnail)), (330, 4, 2, first),
    ]  # fmt: skip
    tables = b""
    for table in (directories, [(259, 3, 1, 1), (262, 3, 1, 32803)]):
        tables += struct.pack("<H", len(table)) + b"".join(struct.pack("<HHII", *one) for one in table) + bytes(4)
    return tiff(entries, struct.pack("<II", preview_at, sensor_at) + tables + thumbnail + jpeg)


def icon(image: Image.Image) -> bytes:
    """An icon of two sizes, the smaller one first, as bitmaps."""
    return saved(image.resize((64, 64)), "ICO", sizes=[(16, 16), (64, 64)], bitmap_format="bmp")


NEW: dict[str, Callable[[Image.Image], bytes]] = {
    "heic": lambda image: saved(image, "HEIF", quality=90),
    "jxl": lambda image: saved(image, "JXL", quality=95),
    "jp2": lambda image: saved(image, "JPEG2000"),
    "ico": icon,
    "psd": psd,
    "raw": lambda image: raw(image.resize((960, 640))),
}
