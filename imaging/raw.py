"""Camera raw files: the largest JPEG preview within, as the camera developed it. Sensor data is never looked at.

Those that are TIFF files by their first bytes (NEF, CR2, DNG, ARW, PEF) are told by `imaging.tiff`.
"""

import re

from imaging.errors import UnsupportedFormat
from imaging.jpeg import largest_preview, read_header
from imaging.lightened import Lightened
from imaging.sniffing import CANON_RAW, FUJI_RAW, OLYMPUS_RAW, PANASONIC_RAW, SIGMA_RAW
from imaging.tiff import panasonic_preview, tiff_orientation

_MAX_CANDIDATES = 200
"""A file has three or four."""

_HEADER_BYTES = 256 * 1024
"""Metadata and a profile may come before the frame's header."""

_JPEG_START = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]")
_DIRECTORY = re.compile(rb"CMT1(II\*\0|MM\0\*)")
_DIRECTORY_BYTES = 4096

_TIFF_STARTS = {b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"MMOR": b"MM\0*"}
"""Olympus writes TIFF files with a number of its own."""


def raw_preview(data: bytes) -> Lightened:
    """The preview; raises `UnsupportedFormat` if there is none of full size."""
    if data.startswith(FUJI_RAW):
        at, size = int.from_bytes(data[84:88]), int.from_bytes(data[88:92])
        return largest_preview([data[at : at + size]], 1)
    if data.startswith(PANASONIC_RAW):
        return panasonic_preview(data)
    if data.startswith(OLYMPUS_RAW):
        return _found(data, tiff_orientation(_TIFF_STARTS[data[:4]] + data[4:]))
    if data.startswith(SIGMA_RAW):
        return _found(data, 1)
    if data[4:12] == CANON_RAW:
        directory = _DIRECTORY.search(data)
        entries = data[directory.start(1) : directory.start(1) + _DIRECTORY_BYTES] if directory else b""
        return _found(data, tiff_orientation(entries))
    raise UnsupportedFormat("The file is a camera raw file of a kind that is not supported.")


def _found(data: bytes, orientation: int) -> Lightened:
    """The largest of all JPEG files within: where each lies is told in other ways by each maker and model."""
    starts = [found.start() for found, _ in zip(_JPEG_START.finditer(data), range(_MAX_CANDIDATES), strict=False)]
    areas = {at: header.area for at in starts if (header := read_header(data[at : at + _HEADER_BYTES]))}
    largest = max(areas, key=lambda at: areas[at], default=len(data))
    return largest_preview([data[largest:]], orientation)
