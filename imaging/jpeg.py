"""JPEG files without the segments that have nothing to do with pixels."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from imaging.errors import Broken, TooManyPixels, Truncated, UnsupportedFormat
from imaging.incomplete import without_zeros
from imaging.lightened import Lightened, exif_orientation

_MAX_SEGMENTS = 10_000
"""Segments hold up to 64 KiB each, so 25 MiB of them are 400."""

_MAX_SCANS = 64
"""libjpeg's own progressive script has 10 scans. Each costs a pass over all coefficients, however short it
is.
"""

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Markers that begin a segment (or end the file); not stuffed zeros, restarts, fill bytes and the start of
an image.
"""

_EOI, _SOS, _APP1, _APP2, _COM = 0xD9, 0xDA, 0xE1, 0xE2, 0xFE
_PROFILE = b"ICC_PROFILE\0"
_APPS = range(0xE0, 0xF0)
_KEPT_APPS = (0xE0, 0xEE)
"""APP0 (JFIF) and APP14 (Adobe) decide how colours are coded."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_LS = 0xF7
_READABLE = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive", 0xC9: "arithmetic", 0xCA: "arithmetic"}
"""The kinds of frames that libjpeg decodes (ITU-T T.81, table B.1); the others are lossless or hierarchical."""

_PROGRESSIVE = (0xC2, 0xCA)

_DEPTH = 8


_MAX_SIDE = 65_500
"""The format allows for 35 more, libjpeg doesn't."""

_MIN_PREVIEW_SIDE = 640
"""Smaller pictures within a raw file are thumbnails: 160 × 120, 320 × 240 and 570 × 375 are usual."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What the frame header says: its marker, bits a sample and the size."""

    marker: int
    depth: int
    width: int
    height: int

    @property
    def is_readable(self) -> bool:
        """Whether it is of a kind that is decoded here."""
        return self.marker in _READABLE and self.depth == _DEPTH

    @property
    def area(self) -> int:
        """Pixels; 0 of one that isn't decoded here."""
        return self.width * self.height if self.is_readable else 0


def read_header(data: bytes) -> JpegHeader | None:
    """The header of the first frame; None if these bytes are no JPEG."""
    if not data.startswith(b"\xff\xd8"):
        return None
    at = 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None or data[found.start() + 1] in (_EOI, _SOS):
            return None
        if data[found.start() + 1] in _FRAMES:
            return _header(data, found.start())
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2]))
    return None


def _header(data: bytes, start: int) -> JpegHeader:
    depth, height, width = data[start + 4 : start + 5], data[start + 5 : start + 7], data[start + 7 : start + 9]
    return JpegHeader(data[start + 1], int.from_bytes(depth), int.from_bytes(width), int.from_bytes(height))


def lighten_jpeg(data: bytes) -> Lightened:
    """Drop comments, application segments and what follows the end of the image.

    Raises `Truncated` if there is no scan, `Broken` if there are absurdly many scans or segments,
    `UnsupportedFormat` for lossless and hierarchical files and those of more than 8 bits a sample.
    """
    kept, orientation, profile, scans, at = [data[:2]], 1, dict[int, bytes](), 0, 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if scans:
            kept.append(data[at : found.start() if found else len(data)])
        if found is None or data[found.start() + 1] == _EOI:
            break
        start, marker = found.start(), data[found.start() + 1]
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2]))
        scans += marker == _SOS
        if scans:
            # libjpeg takes a marker within a scan for the scan's end; what it would not see may not be moved into it.
            kept.append(data[start:at])
            continue
        if marker == _APP1 and data[start + 4 : start + 10] == b"Exif\0\0" and orientation == 1:
            orientation = exif_orientation(data[start + 10 : at])
        if marker == _APP2 and data[start + 4 : start + 16] == _PROFILE:
            profile.setdefault(int.from_bytes(data[start + 16 : start + 17]), data[start + 18 : at])
        _check(data, start)
        if marker in _KEPT_APPS or (marker not in _APPS and marker != _COM):
            kept.append(data[start:at])
    else:
        raise Broken(f"The JPEG file has more than {_MAX_SEGMENTS} segments.")
    if not scans:
        raise Truncated("The JPEG file ends before its picture data.")
    if scans > _MAX_SCANS:
        raise Broken(f"The JPEG file has {scans} scans; {_MAX_SCANS} are allowed.")
    kept.append(b"\xff\xd9" if found else b"")
    # Half of an end marker is none, and libjpeg would take what is put behind it for another marker.
    whole = b"".join(kept) if found else without_zeros(b"".join(kept)).rstrip(b"\xff")
    parts = b"".join(part for _, part in sorted(profile.items()))
    return Lightened(whole, orientation, ends=found is not None, profile=parts)


def _check(data: bytes, start: int) -> None:
    if data[start + 1] == _JPEG_LS:
        raise UnsupportedFormat("The file is a JPEG-LS picture, which is not supported.")
    if data[start + 1] not in _FRAMES:
        return
    header = _header(data, start)
    if header.marker not in _READABLE:
        raise UnsupportedFormat("The file is a lossless or hierarchical JPEG picture, which is not supported.")
    if max(header.width, header.height) > _MAX_SIDE:
        raise TooManyPixels(
            f"The JPEG picture is {header.width} × {header.height}; no side of one may exceed {_MAX_SIDE:,} pixels."
        )
    if header.depth not in (0, _DEPTH):
        raise UnsupportedFormat(f"The file is a JPEG picture of {header.depth} bits a sample, which is not supported.")


def largest_preview(candidates: Iterable[bytes], orientation: int) -> Lightened:
    """The largest of the JPEG files within a camera raw file, lightened, to be turned as it says itself or else as the
    file around it does.

    Raises `UnsupportedFormat` if there is none of 640 pixels or more.
    """
    headers = [(header, jpeg) for jpeg in candidates if (header := read_header(jpeg)) and header.is_readable]
    header, jpeg = max(headers, key=lambda one: one[0].area, default=(JpegHeader(0, 0, 0, 0), b""))
    if max(header.width, header.height) < _MIN_PREVIEW_SIDE:
        raise UnsupportedFormat(
            f"The file is a camera raw file without a JPEG preview of {_MIN_PREVIEW_SIDE} pixels or more, which is "
            "not supported."
        )
    preview = lighten_jpeg(jpeg)
    turned = orientation if preview.orientation == 1 else preview.orientation
    return replace(preview, orientation=turned, decoder="jpeg")


def is_coarsely_there(data: bytes) -> bool:
    """Whether all of a progressive picture can be seen in little detail: scans that are followed by others have brought
    each component's mean values (T.81, G.1.2.1).
    """
    missing: set[int] | None = None
    scan: set[int] = set()
    for found in _MARKER.finditer(data):
        start, marker = found.start(), data[found.start() + 1]
        if marker in _PROGRESSIVE and missing is None:
            missing = set(data[start + 10 : start + 10 + 3 * int.from_bytes(data[start + 9 : start + 10]) : 3])
        if marker == _SOS and missing is not None:
            missing -= scan
            spectrum = start + 5 + 2 * int.from_bytes(data[start + 4 : start + 5])
            has_means = data[spectrum : spectrum + 1] == b"\0"
            scan = set(data[start + 5 : spectrum : 2]) if has_means else set()
    return missing == set()


def with_end(data: bytes, filling: bytes = b"") -> bytes:
    """A file that lacks its end marker, with one; `filling` is what is read where its scan was cut short."""
    return data + filling + b"\xff\xd9"
