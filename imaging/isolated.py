"""HEIC and JPEG XL, decoded in processes of their own.

Their libraries are large, young and written in C++; what a file makes them allocate or do can't be told from its
header alone. So the system bounds memory and computing time of the process that decodes a picture, and what takes it
down is a fact about the picture instead of the worker's end.
"""

import json
import signal
from typing import Any, NamedTuple

from PIL import Image

from imaging.errors import Broken, TooManyPixels, by_reason
from imaging.isolated_pool import Decoder, decoder
from imaging.limits import DecodeLimits, check_area, check_memory
from imaging.memory import MemoryBudget
from imaging.sniffing import Format

FORMATS: frozenset[Format] = frozenset({"heic", "jxl"})

_BYTES_A_PIXEL: dict[Format, int] = {"heic": 16, "jxl": 40}
_MORE_OF_SEQUENCES = 28
"""Bytes a pixel: a decoder of HEVC keeps up to 16 frames that others refer to, and those that are chosen among."""


class IsolatedPicture(NamedTuple):
    """A decoded picture: its upright size, and pixels that were reduced to a few times what was asked for."""

    size: tuple[int, int]
    image: Image.Image


def read_isolated(
    data: bytes, kind: Format, limits: DecodeLimits, target: tuple[int, int], budget: MemoryBudget
) -> IsolatedPicture:
    """Decode one picture, reduced by whole factors but to no less than `target`, once `budget` has room for it.

    Raises `UndecodableImage`; `Broken` where the decoder ended without an answer, `TooManyPixels` where it took more
    memory than the estimate.
    """
    request = {"kind": kind, "target": target, "bytes": len(data)}
    with decoder() as process:
        _send(process, json.dumps(request).encode() + b"\n" + data)
        header = _answer(process)
        width, height = header["width"], header["height"]
        memory = _estimate(width, height, kind, limits, sequence=header["sequence"])
        with budget.reserve(memory, limits.max_memory):
            _send(process, f"{memory}\n".encode())
            answer = _answer(process)
            pixels = process.take(answer["pixels"])
            if len(pixels) < answer["pixels"]:
                raise _ending(process)
    image = Image.frombuffer(answer["mode"], tuple(answer["reduced"]), pixels, "raw", answer["mode"], 0, 1)
    return IsolatedPicture(tuple(answer["upright"]), image)


def _estimate(width: int, height: int, kind: Format, limits: DecodeLimits, *, sequence: bool) -> int:
    check_area(width, height, limits)
    memory = (_BYTES_A_PIXEL[kind] + _MORE_OF_SEQUENCES * sequence) * width * height
    check_memory(memory, f"{kind.upper()} picture of {width} × {height}", limits)
    return memory


def _send(process: Decoder, message: bytes) -> None:
    try:
        process.send(message)
    except BrokenPipeError as error:
        raise _ending(process) from error


def _answer(process: Decoder) -> dict[str, Any]:
    line = process.line()
    if not line:
        raise _ending(process)
    answer: dict[str, Any] = json.loads(line)
    if "reason" in answer:
        raise by_reason(answer["reason"], answer["detail"])
    return answer


def _ending(process: Decoder) -> Broken | TooManyPixels:
    code = process.code()
    if code in (-signal.SIGXCPU, -signal.SIGALRM):
        return TooManyPixels("Decoding the picture takes too long.")
    return Broken(f"The picture's decoder ended without an answer (code {code}).")
