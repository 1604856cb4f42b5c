"""TIFF files: the one directory that holds the picture, and the previews within camera raw files."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imaging.errors import Broken, Truncated, UnsupportedFormat
from imaging.jpeg import largest_preview
from imaging.lightened import ORIENTATIONS, Lightened
from imaging.profiles import MAX_PROFILE_BYTES

_KEPT = frozenset(
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

_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _STRIP_BYTES = 254, 256, 257, 259, 262, 273, 279
_ORIENTATION, _CHILDREN, _JPEG_AT, _JPEG_BYTES, _PANASONIC_JPEG, _DNG = 274, 330, 513, 514, 0x2E, 50706
_DNG_BYTES = 4
_TILES, _TILE_BYTES, _PROFILE = 324, 325, 34675
_BITS = 258
_BLACK_IS_ZERO = 1
_REDUCED = 1
_SHORT = 3
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 13: 4, 16: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "L", 13: "L", 16: "Q", 18: "Q"}

_MAX_TAG_VALUES = 200_000
"""The palette of a 16-bit TIFF has 196,608 values; 100 megapixels in tiles of 64 × 64 have 24,415 offsets."""

_MAX_DIRECTORIES = 32
"""Further pages are not looked at. Raw files have up to eight directories."""

_READABLE = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946))
"""The compressions that every build of Pillow's libtiff reads; of others it would complain on the terminal."""

_SENSOR_DATA = (32803, 34892)
"""The photometric interpretations of what a camera's sensor saw, before it is developed (DNG 1.7)."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """The byte order of a file and the widths of its numbers, as `struct` writes them."""

    order: str
    pointer_at: int
    pointer: str
    counter: str
    entry: str


@dataclass(frozen=True, slots=True)
class _Directory:
    """One directory's entries: tag to type, count and the value or where it lies."""

    entries: dict[int, tuple[int, int, bytes]]

    def integers(self, data: bytes, layout: _Layout, tag: int, most: int = 64) -> tuple[int, ...]:
        """The values of a tag that holds unsigned integers, so many at most; none where it is missing."""
        kind, count, value = self.entries.get(tag, (0, 0, b""))
        if kind not in _INTEGERS or not count:
            return ()
        count = min(count, most)
        if count * _SIZES[kind] > len(value):
            (at,) = struct.unpack(layout.order + layout.pointer, value)
            value = data[at : at + count * _SIZES[kind]]
        return struct.unpack_from(f"{layout.order}{count}{_INTEGERS[kind]}", value)

    def integer(self, data: bytes, layout: _Layout, tag: int) -> int:
        """The first value of such a tag; 0 where it is missing."""
        return next(iter(self.integers(data, layout, tag)), 0)


def lighten_tiff(data: bytes) -> Lightened:
    """Give the file a new only directory, at its end, with the tags that carry the pixels of its picture: the
    first directory's, or the largest's where the first says that it is a reduced one.

    Of a camera raw file, the largest JPEG preview. Raises `Broken` if the directory can't be read or a tag has
    absurdly many values, `UnsupportedFormat` for a compression that isn't read here.
    """
    try:
        layout = _layout(data)
        directories = list(_directories(data, layout))
        first = directories[0]
        if not first.entries:
            raise Truncated("The TIFF file ends before its directory.")
        if _is_raw(data, layout, directories):
            return _preview(data, layout, directories)
        if first.integer(data, layout, _SUBFILE) & _REDUCED:
            first = max(directories, key=lambda one: _pixels(data, layout, one))
        return _only(data, layout, first)
    except (struct.error, OverflowError, IndexError) as error:
        raise Broken("The TIFF file's directory can't be read.") from error


def tiff_orientation(data: bytes) -> int:
    """The orientation that the first directory tells; 1 where it can't be read."""
    try:
        layout = _layout(data)
        return _orientation(data, layout, next(iter(_directories(data, layout))))
    except (struct.error, OverflowError, Truncated):
        return 1


def panasonic_preview(data: bytes) -> Lightened:
    """The JPEG preview of an RW2 file; raises `UnsupportedFormat` if there is none."""
    try:
        layout = _layout(data)
        return _preview(data, layout, list(_directories(data, layout)))
    except (struct.error, OverflowError, IndexError) as error:
        raise Broken("The camera raw file's directory can't be read.") from error


def _layout(data: bytes) -> _Layout:
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        return _Layout(order, 8, "Q", "Q", "HHQ8s")
    return _Layout(order, 4, "L", "H", "HHL4s")


def _directories(data: bytes, layout: _Layout) -> Iterator[_Directory]:
    """The directories in the file's order, each before its children."""
    (start,) = struct.unpack_from(layout.order + layout.pointer, data, layout.pointer_at)
    if start + struct.calcsize(layout.order + layout.counter) > len(data):
        raise Truncated("The TIFF file ends before its directory.")
    waiting, seen = [start], set[int]()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        at = waiting.pop(0)
        if at in seen:
            continue
        seen.add(at)
        try:
            directory, following = _directory(data, layout, at)
        except struct.error:
            if len(seen) == 1:
                raise
            continue
        yield directory
        children = directory.integers(data, layout, _CHILDREN)
        waiting[:0] = (*children, *([following] if following else []))


def _directory(data: bytes, layout: _Layout, at: int) -> tuple[_Directory, int]:
    (count,) = struct.unpack_from(layout.order + layout.counter, data, at)
    at += struct.calcsize(layout.order + layout.counter)
    end = at + min(count, 65_535) * struct.calcsize(layout.order + layout.entry)
    entries: dict[int, tuple[int, int, bytes]] = {}
    for tag, kind, values, value in struct.iter_unpack(layout.order + layout.entry, data[at:end]):
        entries.setdefault(tag, (kind, values, value))
    following = data[end : end + struct.calcsize(layout.order + layout.pointer)]
    return _Directory(entries), int.from_bytes(following, "little" if layout.order == "<" else "big")


def _pixels(data: bytes, layout: _Layout, one: _Directory) -> int:
    return one.integer(data, layout, _WIDTH) * one.integer(data, layout, _HEIGHT)


def _only(data: bytes, layout: _Layout, picture: _Directory) -> Lightened:
    compression = picture.integer(data, layout, _COMPRESSION)
    if picture.entries.get(_COMPRESSION, (0,))[0] == _SHORT and compression not in _READABLE:
        raise UnsupportedFormat(f"The TIFF file is compressed by a method ({compression}) that is not supported.")
    # Pillow follows WhiteIsZero up to 8 bits only, so deeper samples are inverted once they are decoded.
    inverted = picture.integer(data, layout, _BITS) > 8 and picture.integers(data, layout, _PHOTOMETRIC) == (0,)  # noqa: PLR2004
    kept = []
    for tag, (kind, values, value) in sorted(picture.entries.items()):
        if tag not in _KEPT:
            continue
        if values > _MAX_TAG_VALUES and kind not in (1, 2, 6, 7):
            raise Broken(f"The TIFF file has {values:,} values of one tag.")
        if tag == _PHOTOMETRIC and inverted:
            value = struct.pack(layout.order + "H", _BLACK_IS_ZERO) + value[2:]  # noqa: PLW2901
        kept.append(struct.pack(layout.order + layout.entry, tag, kind, values, value))
    directory = b"".join(
        (
            struct.pack(layout.order + layout.counter, len(kept)),
            *kept,
            struct.pack(layout.order + layout.pointer, 0),
        )
    )
    padded = len(data) + len(data) % 2
    header = data[: layout.pointer_at] + struct.pack(layout.order + layout.pointer, padded)
    lightened = b"".join((header, data[len(header) :], b"\0" * (padded - len(data)), directory))
    return Lightened(
        lightened,
        _orientation(data, layout, picture),
        inverted=inverted,
        cut=_is_cut(data, layout, picture),
        profile=_profile(data, layout, picture),
    )


def _is_cut(data: bytes, layout: _Layout, picture: _Directory) -> bool:
    """Whether a strip or tile lies beyond the end."""
    return any(
        at + size > len(data)
        for places, sizes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES))
        for at, size in zip(
            picture.integers(data, layout, places, _MAX_TAG_VALUES),
            picture.integers(data, layout, sizes, _MAX_TAG_VALUES),
            strict=False,
        )
    )


def _profile(data: bytes, layout: _Layout, picture: _Directory) -> bytes:
    _, count, value = picture.entries.get(_PROFILE, (0, 0, b""))
    if count <= len(value):
        return b""
    (at,) = struct.unpack(layout.order + layout.pointer, value)
    return data[at : at + min(count, MAX_PROFILE_BYTES)]


def _orientation(data: bytes, layout: _Layout, one: _Directory) -> int:
    if one.entries.get(_ORIENTATION, (0,))[0] != _SHORT:
        return 1
    orientation = one.integer(data, layout, _ORIENTATION)
    return orientation if orientation in ORIENTATIONS else 1


def _is_raw(data: bytes, layout: _Layout, directories: list[_Directory]) -> bool:
    return data[8:10] == b"CR" or any(
        one.entries.get(_DNG, (0, 0, b""))[1] == _DNG_BYTES or one.integer(data, layout, _PHOTOMETRIC) in _SENSOR_DATA
        for one in directories
    )


def _preview(data: bytes, layout: _Layout, directories: list[_Directory]) -> Lightened:
    candidates = []
    for one in directories:
        at, size = one.integer(data, layout, _JPEG_AT), one.integer(data, layout, _JPEG_BYTES)
        candidates.append(data[at : at + size])
        strips, sizes = one.integers(data, layout, _STRIPS), one.integers(data, layout, _STRIP_BYTES)
        if len(strips) == len(sizes) == 1:
            candidates.append(data[strips[0] : strips[0] + sizes[0]])
        kind, count, value = one.entries.get(_PANASONIC_JPEG, (0, 0, b""))
        if kind == 7:  # noqa: PLR2004 -- UNDEFINED: the file's bytes themselves
            (at,) = struct.unpack(layout.order + layout.pointer, value)
            candidates.append(data[at : at + count])
    return largest_preview(candidates, _orientation(data, layout, directories[0]))
