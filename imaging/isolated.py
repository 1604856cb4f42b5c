"""HEIC and JPEG XL, decoded in a process of their own each.

Their libraries are large, young and written in C++; what a file makes them allocate or do can't be told from its
header alone. So each picture gets a process whose memory and computing time the system bounds, and what takes it down
is a fact about the picture instead of the worker's end. Starting it takes most of the time of a small picture.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from PIL import Image

from imaging.errors import Broken, TooManyPixels, by_reason
from imaging.limits import DecodeLimits, check_area, check_memory
from imaging.memory import MemoryBudget
from imaging.sniffing import Format

FORMATS: frozenset[Format] = frozenset({"heic", "jxl"})

_BYTES_A_PIXEL: dict[Format, int] = {"heic": 16, "jxl": 40}

_COMMAND = (sys.executable, "-m", "imaging.isolated_decoder")
_ENDING_S = 10


class IsolatedPicture(NamedTuple):
    """A decoded picture: its upright size, and pixels that were reduced to a few times what was asked for."""

    size: tuple[int, int]
    image: Image.Image


def read(
    data: bytes, kind: Format, limits: DecodeLimits, target: tuple[int, int], budget: MemoryBudget
) -> IsolatedPicture:
    """Decode one picture, reduced by whole factors but to no less than `target`, once `budget` has room for it.

    Raises `UndecodableImage`; `Broken` where the decoder ended without an answer, `TooManyPixels` where it took more
    memory than the estimate.
    """
    request = {"kind": kind, "target": target, "bytes": len(data)}
    with _decoder() as process:
        _send(process, json.dumps(request).encode() + b"\n" + data)
        header = _answer(process)
        width, height = header["width"], header["height"]
        memory = _estimate(width, height, kind, limits)
        with budget.reserve(memory, limits.max_memory):
            _send(process, f"{memory}\n".encode())
            answer = _answer(process)
            pixels = _take(process, answer["pixels"])
    image = Image.frombuffer(answer["mode"], tuple(answer["reduced"]), pixels, "raw", answer["mode"], 0, 1)
    return IsolatedPicture((width, height), image)


def _estimate(width: int, height: int, kind: Format, limits: DecodeLimits) -> int:
    check_area(width, height, limits)
    memory = _BYTES_A_PIXEL[kind] * width * height
    check_memory(memory, f"{kind.upper()} picture of {width} × {height}", limits)
    return memory


@contextmanager
def _decoder() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(  # noqa: S603 -- a constant
        _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _send(process: "subprocess.Popen[bytes]", message: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(message)
        process.stdin.flush()
    except BrokenPipeError as error:
        raise _ending(process) from error


def _answer(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise _ending(process)
    answer: dict[str, Any] = json.loads(line)
    if "reason" in answer:
        raise by_reason(answer["reason"], answer["detail"])
    return answer


def _take(process: "subprocess.Popen[bytes]", count: int) -> bytes:
    assert process.stdout is not None
    taken = process.stdout.read(count)
    if len(taken) < count:
        raise _ending(process)
    return taken


def _ending(process: "subprocess.Popen[bytes]") -> Broken | TooManyPixels:
    code = process.wait(_ENDING_S)
    if code in (-signal.SIGXCPU, -signal.SIGALRM):
        return TooManyPixels("Decoding the picture takes too long.")
    return Broken(f"The picture's decoder ended without an answer (code {code}).")
