"""From untrusted bytes to a small, upright RGB picture, with the limits held before any pixel is decoded.

Memory: all threads of a process that decode under the same limits stay together within
`DecodeLimits.max_memory`, and each of them takes at most two copies of its file, 32 MiB and its reduced
picture beside that.
What a picture takes is estimated from its header, at so many bytes a pixel;
tests/unit/imaging/test_memory.py holds the estimates against the process's real peak.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image, ImageFile

from imaging import frame_choice, frames, incomplete, isolated
from imaging.containers import check_bmp, lighten_gif, lighten_ico, lighten_png, lighten_psd
from imaging.errors import Broken, EmptyFile, TooManyBytes, TooManyPixels, Truncated, UndecodableImage
from imaging.jpeg import is_coarsely_there, lighten_jpeg, with_end
from imaging.lightened import Lightened, exif_orientation
from imaging.limits import DecodeLimits
from imaging.memory import MemoryBudget
from imaging.opening import checked_memory, opened
from imaging.profiles import to_srgb
from imaging.raw import raw_preview
from imaging.reducing import reduced
from imaging.sniffing import Format, format_of
from imaging.tiff import lighten_tiff

# Pillow warns about odd metadata. A picture's oddities are not this process's, and
# `warnings.catch_warnings` is not safe among threads before Python 3.14.
warnings.filterwarnings("ignore", module=r"PIL\.")

_memory = MemoryBudget()

_ON_THEIR_SIDE = range(5, 9)
"""The EXIF orientations that exchange width and height."""

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Raster:
    """A picture: upright size and format, and its pixels, reduced.

    Of one whose file was cut short, `share` says how many of its rows are there, and `rgb` holds no more than those;
    `shown` is the size, in the file's pixels, of what `rgb` holds.
    """

    width: int
    height: int
    format: Format
    rgb: Image.Image
    shown: tuple[int, int]
    share: float | None = None


@dataclass(frozen=True, slots=True)
class _Task:
    """A file that was lightened, and what is wanted of it."""

    lightened: Lightened
    kind: Format
    limits: DecodeLimits
    target: tuple[int, int]

    @property
    def decoder(self) -> Format:
        return self.lightened.decoder or self.kind


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A picture as it lies in its file, not turned yet: its size there, and its pixels, reduced."""

    size: tuple[int, int]
    small: Image.Image
    orientation: int
    profile: bytes


def read(data: bytes, limits: DecodeLimits, width: int, height: int) -> Raster:
    """Decode a picture (of an animation the first frame with content), upright, reduced by whole factors but to no less
    than `width` × `height`.

    A side that is shorter than that is left as it is. Raises `UndecodableImage`, and nothing else whatever
    the bytes are.
    """
    if not data:
        raise EmptyFile("The file is empty.")
    if len(data) > limits.max_bytes:
        raise TooManyBytes(f"The file has {len(data):,} bytes; at most {limits.max_bytes:,} are allowed.")
    kind = format_of(data)
    with _failures_are_facts(data, kind):
        if kind in isolated.FORMATS:
            return _read_isolated(data, kind, limits, (width, height))
        lightened = _LIGHTEN[kind](data)
        if kind == "tiff" and lightened.decoder == "jpeg":
            kind = "raw"
        return _read(_Task(lightened, kind, limits, (width, height)), data)


def _read_isolated(data: bytes, kind: Format, limits: DecodeLimits, target: tuple[int, int]) -> Raster:
    try:
        picture = isolated.read_isolated(data, kind, limits, target, _memory)
    except Broken as error:
        if incomplete.ends_early(data, kind):
            raise Truncated(f"The {kind.upper()} file ends before the picture does.") from error
        raise
    return Raster(*picture.size, kind, reduced(picture.image, target), picture.size)


def _read(task: _Task, data: bytes) -> Raster:
    if not task.lightened.ends:
        return _read_endless(task)
    try:
        decoded = _decoded(task)
    except UndecodableImage:
        raise
    except Exception as error:
        if task.decoder in incomplete.ROW_BY_ROW and _is_cut(error, data, task):
            return _read_cut(task, data)
        raise
    if frames.is_animated(data, task.kind) and frame_choice.is_plain(decoded.small):
        decoded = _with_content(task, data) or decoded
    return _upright(decoded, task.kind)


def _load(image: ImageFile.ImageFile) -> None:
    image.load()


def _decoded(task: _Task, load: Callable[[ImageFile.ImageFile], None] = _load) -> _Decoded:
    with opened(task.lightened.data, task.decoder) as image:
        orientation, size = _orientation(image, task.lightened), image.size
        target = _turned(task.target, orientation)
        memory = checked_memory(image, task.decoder, task.limits, target)
        profile = task.lightened.profile or _profile(image)
        with _memory.reserve(memory, task.limits.max_memory):
            load(image)
            small = reduced(image, target, inverted=task.lightened.inverted)
    return _Decoded(size, small, orientation, profile)


def _upright(decoded: _Decoded, kind: Format, share: float | None = None) -> Raster:
    small = to_srgb(decoded.small, decoded.profile) if decoded.profile else decoded.small
    if decoded.orientation in _TRANSPOSITIONS:
        small = small.transpose(_TRANSPOSITIONS[decoded.orientation])
    width, height = decoded.size
    shown = (width, height if share is None else max(1, round(height * share)))
    turn = partial(_turned, orientation=decoded.orientation)
    return Raster(*turn((width, height)), kind, small, turn(shown), share)


def _turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation in _ON_THEIR_SIDE else size


def _orientation(image: ImageFile.ImageFile, lightened: Lightened) -> int:
    exif = image.info.get("exif")
    return exif_orientation(exif) if isinstance(exif, bytes) else lightened.orientation


def _profile(image: ImageFile.ImageFile) -> bytes:
    """The profile where it can be one of the pixels that were decoded: they are RGB, or a palette of that."""
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) else b""


def _with_content(task: _Task, data: bytes) -> _Decoded | None:
    """Of an animation whose first frame is plain, the first with content; None where there is but one."""
    lightened = frames.keep_frames(data, task.kind)
    with opened(lightened.data, task.kind) as image:
        orientation, size = _orientation(image, task.lightened), image.size
        count = min(getattr(image, "n_frames", 1), frame_choice.most_frames(*size))
        if count < 2:  # noqa: PLR2004 -- more than the one that was looked at
            return None
        target = _turned(task.target, orientation)
        memory = checked_memory(image, task.kind, task.limits, target, frames=count)
        profile = task.lightened.profile or _profile(image)
        with _memory.reserve(memory, task.limits.max_memory):
            small = frame_choice.first_with_content(_frames(image, count, target))
    return None if small is None else _Decoded(size, small, orientation, profile)


def _frames(image: ImageFile.ImageFile, count: int, target: tuple[int, int]) -> Iterator[Image.Image]:
    for index in range(count):
        try:
            image.seek(index)
            image.load()
        except Exception:
            # The animation is damaged from here on; what came before counts.
            return
        yield reduced(image, target)


_FILLING = b"\x5a\xa5" * 64
"""Decodes to something else than the zeros that libjpeg takes for what is missing."""


def _read_endless(task: _Task) -> Raster:
    """A JPEG without its end marker is whole if its pixels don't depend on what follows it."""
    data = task.lightened.data
    one, other = (
        _decoded(replace(task, lightened=replace(task.lightened, data=with_end(data, filling))))
        for filling in (b"", _FILLING)
    )
    rows = incomplete.rows_before_the_end(one.small, other.small)
    if is_coarsely_there(data):
        return _upright(one, task.kind, None if rows == (0, one.small.height) else 1.0)
    return _partly(one, rows, task.kind)


def _read_cut(task: _Task, data: bytes) -> Raster:
    """What was decoded until the file ended. Raises `Truncated` if it is too little."""
    if task.kind == "gif":
        # What a transparent colour leaves out would be taken for missing.
        task = replace(task, lightened=lighten_gif(data, transparency=False))
    with opened(task.lightened.data, task.decoder) as image:
        grounds = incomplete.grounds_of(image)
    if not grounds:
        raise Truncated(f"The {task.kind.upper()} file ends before the picture does.")
    one, other = (_decoded(task, partial(incomplete.load_over, ground=ground)) for ground in grounds)
    return _partly(one, incomplete.rows_there(one.small, other.small), task.kind)


def _partly(one: _Decoded, rows: tuple[int, int], kind: Format) -> Raster:
    """These rows of it. Raises `Truncated` if they are too few."""
    top, bottom = rows
    share = (bottom - top) / one.small.height
    if share == 1:
        return _upright(one, kind)
    if share < incomplete.MIN_SHARE:
        raise Truncated(f"The {kind.upper()} file ends before the picture does; {share:.0%} of it are there.")
    there = one.small.crop((0, top, one.small.width, bottom))
    return _upright(replace(one, small=there), kind, round(share, 4))


@contextmanager
def _failures_are_facts(data: bytes, kind: Format) -> Iterator[None]:
    try:
        yield
    except UndecodableImage:
        raise
    except MemoryError as error:
        raise TooManyPixels("The picture needs more memory than there is.") from error
    except Exception as error:
        # Pillow's plugins raise a dozen kinds of errors on hostile bytes (OSError, SyntaxError, ValueError,
        # struct.error, EOFError, IndexError, OverflowError, …), and all of them mean the same: these bytes
        # can't be decoded.
        if _says_cut(error) or incomplete.ends_early(data, kind):
            raise Truncated(f"The {kind.upper()} file ends before the picture does.") from error
        raise Broken(f"The {kind.upper()} file is broken and can't be decoded.") from error


def _is_cut(error: Exception, data: bytes, task: _Task) -> bool:
    return not isinstance(error, MemoryError) and (
        task.lightened.cut or _says_cut(error) or incomplete.ends_early(data, task.kind)
    )


def _says_cut(error: Exception) -> bool:
    return "truncated" in str(error).lower() or isinstance(error, EOFError)


_LIGHTEN: dict[Format, Callable[[bytes], Lightened]] = {
    "jpeg": lighten_jpeg,
    "png": lighten_png,
    "tiff": lighten_tiff,
    "gif": lighten_gif,
    "bmp": check_bmp,
    "webp": Lightened,
    "avif": Lightened,
    "jp2": Lightened,
    "ico": lighten_ico,
    "psd": lighten_psd,
    "raw": raw_preview,
}
