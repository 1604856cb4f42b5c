"""The process that `imaging.isolated` decodes pictures in: requests on standard input, answers on standard output.

For each picture it reads a line of JSON and the file, answers with the picture's size, reads a line with the memory
that it may take, and decodes. An empty line asks whether it is ready, and is answered by one. It imports little, since
it is started anew often.
"""

import signal

# Whoever stops a service may tell all of its processes. This one ends when its parent does: if it ended before, that
# would be taken for a crash, and the picture for broken.
if __name__ == "__main__":
    for _signal in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(_signal, signal.SIG_IGN)

import contextlib
import io
import json
import math
import resource
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image, ImageOps, JpegImagePlugin

from imaging.errors import Broken, TooManyPixels, UndecodableImage, UnsupportedFormat
from imaging.frame_choice import first_with_content, is_plain, most_frames
from imaging.headers import jxl_header
from imaging.profiles import to_srgb

if TYPE_CHECKING:
    from imaging.heic_sequence import HeicSequence

_COMPUTING_S = 30
_ALL_S = 120
"""For one step by the clock: what waits without computing ends, too."""

_SPARE_MEMORY = 96 * 1024 * 1024
"""Beside what the parent allows: stacks and arenas of the process, which are mapped and hardly used."""


_IDLE_S = 60


def main() -> None:
    """Serve requests until there are no more, or none comes for a minute."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    while True:
        signal.alarm(_IDLE_S)
        line = sys.stdin.buffer.readline()
        if not line:
            break
        signal.alarm(_ALL_S)
        if line == b"\n":
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        else:
            _take_up(json.loads(line))


def _take_up(request: dict[str, Any]) -> None:
    """Answer one request; whatever a decoder raises is answered as a reason, and is the last thing that it answers."""
    data = sys.stdin.buffer.read(request["bytes"])
    try:
        _serve(data, request["kind"], request["target"])
    except UndecodableImage as error:
        _answer({"reason": error.reason, "detail": error.detail})
    except MemoryError:
        _answer({"reason": TooManyPixels.reason, "detail": "Decoding the picture takes more memory than allowed."})
    except Exception as error:
        _answer({"reason": Broken.reason, "detail": f"The picture can't be decoded ({type(error).__name__})."})


def _serve(data: bytes, kind: str, target: tuple[int, int]) -> None:
    _bound(2 * len(data))
    picture: _Picture = _heic(data) if kind == "heic" else _Jxl(data)
    width, height = picture.size
    signal.alarm(0)
    _answer({"width": width, "height": height, "sequence": picture.is_sequence})
    _bound(int(sys.stdin.buffer.readline()))
    image = _with_content(picture, target)
    if picture.profile and image.mode == "RGB":
        image = to_srgb(image, picture.profile)
    pixels = image.tobytes()
    _answer({"upright": picture.size, "reduced": image.size, "mode": image.mode, "pixels": len(pixels)}, pixels)


def _with_content(picture: "_Picture", target: tuple[int, int]) -> Image.Image:
    """The picture reduced; of a sequence that begins plain the first frame with content."""
    frames = picture.frames()
    first = _reduced(next(frames), target)
    if not (picture.is_sequence and is_plain(first)):
        return first
    further = (_reduced(frame, target) for frame in islice(frames, max(0, most_frames(*picture.size) - 1)))
    return first_with_content(chain([first], _until_damage(further))) or first


def _until_damage(frames: Iterator[Image.Image]) -> Iterator[Image.Image]:
    """What comes before the damage counts."""
    with contextlib.suppress(Broken, UnsupportedFormat):
        yield from frames


def _bound(memory: int) -> None:
    """From here on the system holds this process to so many more bytes, and to its time."""
    signal.alarm(_ALL_S)
    if sys.platform == "linux":
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, mapped + memory + _SPARE_MEMORY)
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + _COMPUTING_S)


def _limit(what: int, amount: int) -> None:
    """The soft limit alone, which a later picture may raise again."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (amount if hard == resource.RLIM_INFINITY else min(amount, hard), hard))


class _Picture(Protocol):
    """A file that was opened: its upright size, and its frames when they are asked for. `profile` is known by then."""

    size: tuple[int, int]
    profile: bytes
    is_sequence: bool

    def frames(self) -> Iterator[Image.Image]:
        """The picture alone, or all frames of a sequence."""
        ...


def _heic(data: bytes) -> _Picture:
    """The primary picture, the sequence, or both, where the one is the cover of the other."""
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedFormat("HEIC pictures need the package pillow-heif, which is not installed.") from error
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = False
    pillow_heif.options.DEPTH_IMAGES = False
    pillow_heif.options.AUX_IMAGES = False
    if _TRACKS not in data:
        return _Heic(data)
    from imaging.heic_sequence import HeicSequence

    sequence = HeicSequence(data)
    if not sequence.has_frames:
        return _Heic(data)
    cover = _Heic(data) if _has_primary(data) else None
    return cover if cover and cover.size != sequence.size else _HeicFrames(sequence, cover)


_TRACKS = b"moov"
"""The box that describes an ISO media file's tracks, and a sequence's frames."""


def _has_primary(data: bytes) -> bool:
    return b"pitm" in data


class _Heic:
    """libheif reads the sizes at once and the pixels when they are asked for; it turns the picture upright itself."""

    is_sequence = False

    def __init__(self, data: bytes) -> None:
        import pillow_heif

        try:
            file = pillow_heif.open_heif(data, convert_hdr_to_8bit=True)
        except (SyntaxError, RuntimeError) as error:
            raise _classified(error) from error
        self._image = file[file.primary_index]
        self.size: tuple[int, int] = self._image.size
        profile: Any = self._image.info.get("icc_profile")
        self.profile = bytes(profile or b"")

    def frames(self) -> Iterator[Image.Image]:
        image = self._image
        try:
            data = image.data
        except (SyntaxError, RuntimeError) as error:
            raise _classified(error) from error
        self.size = image.size
        yield Image.frombuffer(image.mode, image.size, data, "raw", image.mode, image.stride, 1)


_NO_DECODER = "not been built in"
"""What libheif says of codecs that it knows and wasn't built with."""


def _classified(error: Exception) -> Exception:
    """Libheif tells what it doesn't read from what is damaged; pillow-heif raises SyntaxError for most of that."""
    if isinstance(error, SyntaxError) or _NO_DECODER in str(error):
        return UnsupportedFormat("The file is a HEIF picture of a flavour that is not supported.")
    return error


class _HeicFrames:
    """A sequence, with its cover, if there is one, as its first frame."""

    is_sequence = True

    def __init__(self, sequence: "HeicSequence", cover: _Heic | None) -> None:
        self._sequence = sequence
        self._cover = cover
        self.size = sequence.size
        self.profile = cover.profile if cover else b""

    def frames(self) -> Iterator[Image.Image]:
        if self._cover:
            yield from self._cover.frames()
        yield from self._sequence.frames()


class _Jxl:
    """libjxl decodes all at once, so the size is read before; it turns the picture upright itself, as the codestream
    says, whose word counts, not EXIF's.
    """

    is_sequence = False

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size: tuple[int, int] = jxl_header(data)
        self.profile = b""

    def frames(self) -> Iterator[Image.Image]:
        image = self._decoded()
        self.size = image.size
        yield image

    def _decoded(self) -> Image.Image:
        try:
            from pillow_jxl import Decoder
        except ImportError as error:
            raise UnsupportedFormat(
                "JPEG XL pictures need the package pillow-jxl-plugin, which is not installed."
            ) from error
        is_jpeg, info, pixels, profile, _ = Decoder(num_threads=0)(self._data)
        self.profile = bytes(profile or b"")
        if is_jpeg:
            # What was made of a JPEG without loss is given back as that file.
            image: Image.Image = JpegImagePlugin.JpegImageFile(io.BytesIO(pixels))
            self.profile = image.info.get("icc_profile") or b""
            return ImageOps.exif_transpose(image)
        # Halves of floats come as whole ones; Pillow has no mode for them.
        mode = "F" if info.mode == "F;16" else info.mode
        return Image.frombytes(mode, (info.width, info.height), pixels)


def _reduced(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """Reduced as far as it will be, so that few bytes pass between the processes."""
    if image.mode in ("RGBA", "LA") and image.getchannel("A").getextrema() == (0, 0):
        # Nobody wrote this alpha channel; reduced with it, all colours would be gone.
        image = image.convert("RGBA").convert("RGB")
    factors = (max(1, image.width // target[0]), max(1, image.height // target[1]))
    return image.reduce(factors) if max(factors) > 1 else image


def _answer(header: dict[str, Any], content: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
