"""Files that were cut short: which rows of the picture are there.

Each is decoded twice, over two different grounds: what differs between the two was never in the file. For that a
JPEG gets two different endings, and what other decoders decode into is painted before.
"""

import contextlib
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from PIL import Image, ImageFile

from imaging.sniffing import Format

MIN_SHARE = 0.5
"""Of a picture's height, so much must be there; else the file is `truncated`."""

ROW_BY_ROW: frozenset[Format] = frozenset({"png", "gif", "bmp", "tiff", "psd"})
"""The formats whose decoders leave what they decoded before the file ended; JPEG has its own way."""

_GROUNDS: dict[str, tuple[float | tuple[int, ...], ...]] = {
    "1": (0, 255),
    "L": (64, 128),
    "LA": ((64, 255), (128, 255)),
    "RGB": ((64, 64, 64), (128, 128, 128)),
    "RGBA": ((64, 64, 64, 255), (128, 128, 128, 255)),
    "CMYK": ((64, 64, 64, 64), (128, 128, 128, 128)),
    "I;16": (16_384, 32_768),
    "I;16B": (16_384, 32_768),
}
"""Two colours of each mode, neither so light that white would hide it (`imaging.colour`)."""


def grounds_of(image: Image.Image) -> Sequence[float | tuple[int, ...]]:
    """Two colours that can be told apart in this picture; none where its mode has no such."""
    if image.mode != "P" or image.palette is None:
        return _GROUNDS.get(image.mode, ())
    mode, palette = image.palette.getdata()
    colours = [palette[at : at + len(mode)] for at in range(0, len(palette), len(mode))]
    other = next((index for index, colour in enumerate(colours) if colour != colours[0]), None)
    return () if other is None else (0, other)


def load_over(image: ImageFile.ImageFile, ground: float | tuple[int, ...]) -> None:
    """Decode as much as there is, over this ground."""
    image.im = Image.new(image.mode, image.size, ground).im
    if image.palette is not None:
        image.palette.dirty = 1
    with contextlib.suppress(Exception):
        image.load()
    # Else Pillow would try again, and raise, whenever it is asked for pixels.
    image.tile = []


def rows_there(one: Image.Image, other: Image.Image) -> tuple[int, int]:
    """From where to where the two agree: the longest run of rows. Bitmaps begin at the bottom."""
    differing = (np.asarray(one) != np.asarray(other)).any(axis=(1, 2))
    runs, at = [(0, 0)], 0
    for differs, rows in groupby(differing):
        count = len(list(rows))
        if not differs:
            runs.append((at, at + count))
        at += count
    return max(runs, key=lambda run: run[1] - run[0])


def rows_before_the_end(one: Image.Image, other: Image.Image) -> tuple[int, int]:
    """The rows above the first in which the two differ: below, libjpeg may fill both with the same grey."""
    differing = (np.asarray(one) != np.asarray(other)).any(axis=(1, 2))
    return 0, int(differing.argmax()) if differing.any() else one.height


_ZEROS = 64


def without_zeros(data: bytes) -> bytes:
    """A file without the zeros at its end, if they are many: some programs make a file as large as it is to become, and
    don't come to its end.
    """
    shorter = data.rstrip(b"\0")
    return shorter if len(data) - len(shorter) >= _ZEROS else data


_MAX_BOXES = 1000
_J2K_START, _J2K_END = b"\xff\x4f", b"\xff\xd9"
_BOX_START = b"\0\0"
"""The length of the first box, which is never long; codestreams without boxes begin otherwise."""
_BOXED = ("avif", "heic", "jp2", "jxl")


def ends_early(data: bytes, kind: Format) -> bool:
    """Whether the file is shorter than it says of itself."""
    data = without_zeros(data)
    if kind in ("webp", "bmp"):
        at, header = (4, 8) if kind == "webp" else (2, 0)
        return len(data) < header + int.from_bytes(data[at : at + 4], "little")
    if kind == "png":
        return b"IEND" not in data
    if kind == "jp2" and data.startswith(_J2K_START):
        return _J2K_END not in data[-16:]
    return kind in _BOXED and data.startswith(_BOX_START) and _boxes_end_early(data)


def _boxes_end_early(data: bytes) -> bool:
    """Whether a box of an ISO media file or of JPEG's later kin reaches beyond the end."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at >= len(data):
            return at > len(data)
        size = int.from_bytes(data[at : at + 4])
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        if size < 8:  # noqa: PLR2004 -- a box's own header; 0 is one that goes on to the end
            return False
        at += size
    return False
