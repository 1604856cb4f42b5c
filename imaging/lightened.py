"""What is left of a file that was walked before a decoder sees it."""

import struct
from dataclasses import dataclass
from typing import Final

from imaging.sniffing import Format

ORIENTATIONS: Final = range(1, 9)
_ORIENTATION = 0x0112
_SHORT = 3


@dataclass(frozen=True, slots=True)
class Lightened:
    """A file that decodes to the same pixels, unturned, and the EXIF orientation (1 to 8) that it had.

    `decoder` is named where the picture lies within the file in another format;
    `inverted` says that large samples are dark;
    `ends` is false where the end marker is missing that the decoder wants;
    `cut` says that pixels lie beyond the file's end;
    `profile` is the ICC profile that was taken out of it, of decoders that don't tell of it themselves.
    """

    data: bytes
    orientation: int = 1
    decoder: Format | None = None
    inverted: bool = False
    ends: bool = True
    cut: bool = False
    profile: bytes = b""


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
                return int(value) if value in ORIENTATIONS else 1
    except struct.error:
        return 1
    return 1
