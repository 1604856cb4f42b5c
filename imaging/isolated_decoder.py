"""The process that `imaging.isolated` starts for each picture: one request on standard input, its answers on standard
output.

It reads a line of JSON and the file, answers with the picture's size, reads a line with the memory that it may take,
and decodes. It imports little, since it starts anew each time.
"""

import io
import json
import math
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from PIL import Image, JpegImagePlugin

from imaging.errors import Broken, TooManyPixels, UndecodableImage, UnsupportedFormat
from imaging.headers import jxl_header

_COMPUTING_S = 30
_ALL_S = 120
"""For one step by the clock: what waits without computing ends, too."""

_SPARE_MEMORY = 96 * 1024 * 1024
"""Beside what the parent allows: stacks and arenas of the process, which are mapped and hardly used."""


def main() -> None:
    """Serve one request; whatever a decoder raises is answered as a reason."""
    request = json.loads(sys.stdin.buffer.readline())
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
    picture = _Heic(data) if kind == "heic" else _Jxl(data)
    width, height = picture.size
    signal.alarm(0)
    _answer({"width": width, "height": height})
    _bound(int(sys.stdin.buffer.readline()))
    image = _reduced(picture.decode(), target)
    pixels = image.tobytes()
    _answer({"reduced": image.size, "mode": image.mode, "pixels": len(pixels)}, pixels)


def _bound(memory: int) -> None:
    """From here on the system holds this process to so many more bytes, and to its time."""
    signal.alarm(_ALL_S)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory + _SPARE_MEMORY, hard))
    resource.setrlimit(resource.RLIMIT_CPU, (_COMPUTING_S, _COMPUTING_S + 1))


class _Heic:
    """libheif reads the sizes at once and the pixels when they are asked for; it turns the picture upright itself."""

    def __init__(self, data: bytes) -> None:
        try:
            import pillow_heif
        except ImportError as error:
            raise UnsupportedFormat("HEIC pictures need the package pillow-heif, which is not installed.") from error
        pillow_heif.options.DECODE_THREADS = 1
        pillow_heif.options.THUMBNAILS = False
        pillow_heif.options.DEPTH_IMAGES = False
        pillow_heif.options.AUX_IMAGES = False
        file = pillow_heif.open_heif(data, convert_hdr_to_8bit=True)
        self._image = file[file.primary_index]
        self.size: tuple[int, int] = self._image.size

    def decode(self) -> Image.Image:
        image = self._image
        return Image.frombuffer(image.mode, image.size, image.data, "raw", image.mode, image.stride, 1)


class _Jxl:
    """libjxl decodes all at once, so the size is read before; it turns the picture upright itself."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = jxl_header(data)

    def decode(self) -> Image.Image:
        try:
            from pillow_jxl import Decoder
        except ImportError as error:
            raise UnsupportedFormat(
                "JPEG XL pictures need the package pillow-jxl-plugin, which is not installed."
            ) from error
        is_jpeg, info, pixels, _, _ = Decoder(num_threads=0)(self._data)
        if is_jpeg:
            # What was made of a JPEG without loss is given back as that file.
            image: Image.Image = JpegImagePlugin.JpegImageFile(io.BytesIO(pixels))
            image.load()
            return image
        return Image.frombytes(info.mode, (info.width, info.height), pixels)


def _reduced(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """Reduced by a power of two, so that few bytes pass between the processes."""
    scale = min(image.width // target[0], image.height // target[1])
    return image.reduce(2 ** int(math.log2(scale))) if scale > 1 else image


def _answer(header: dict[str, Any], content: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
