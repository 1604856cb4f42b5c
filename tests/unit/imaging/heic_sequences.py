"""HEIC image sequences for the tests, written by the libheif that pillow-heif brings."""

import ctypes
import tempfile
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_uint16, c_uint32, c_void_p
from pathlib import Path
from typing import Any

import pillow_heif
from PIL import Image

from imaging.bundled import bundled_libraries
from imaging.heic_sequence import _Error

_HEVC, _RGB, _INTERLEAVED = 1, 1, 10
_PICTURES = int.from_bytes(b"pict")
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "heif_context_alloc": (c_void_p,),
    "heif_context_get_encoder_for_format": (_Error, c_void_p, c_int, POINTER(c_void_p)),
    "heif_encoder_set_lossy_quality": (_Error, c_void_p, c_int),
    "heif_context_encode_image": (_Error, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
    "heif_context_set_sequence_timescale": (None, c_void_p, c_uint32),
    "heif_sequence_encoding_options_alloc": (c_void_p,),
    "heif_context_add_visual_sequence_track": (
        _Error, c_void_p, c_uint16, c_uint16, c_uint32, c_void_p, c_void_p, POINTER(c_void_p),
    ),
    "heif_image_create": (_Error, c_int, c_int, c_int, c_int, POINTER(c_void_p)),
    "heif_image_add_plane": (_Error, c_void_p, c_int, c_int, c_int, c_int),
    "heif_image_get_plane": (c_void_p, c_void_p, c_int, POINTER(c_int)),
    "heif_image_set_duration": (None, c_void_p, c_uint32),
    "heif_track_encode_sequence_image": (_Error, c_void_p, c_void_p, c_void_p, c_void_p),
    "heif_track_encode_end_of_sequence": (_Error, c_void_p, c_void_p),
    "heif_context_write_to_file": (_Error, c_void_p, c_char_p),
    "heif_context_free": (None, c_void_p),
}  # fmt: skip


def heic_sequence(frames: Sequence[Image.Image], *, cover: Image.Image | None = None) -> bytes:
    """A file with a track of these frames, and with a primary picture if there is to be one."""
    libheif = _libheif()
    context, encoder, track = c_void_p(libheif.heif_context_alloc()), c_void_p(), c_void_p()
    _check(libheif.heif_context_get_encoder_for_format(context, _HEVC, byref(encoder)))
    _check(libheif.heif_encoder_set_lossy_quality(encoder, 90))
    if cover:
        _check(libheif.heif_context_encode_image(context, _image(libheif, cover), encoder, None, None))
    libheif.heif_context_set_sequence_timescale(context, 30)
    options = libheif.heif_sequence_encoding_options_alloc()
    size = frames[0].size
    _check(libheif.heif_context_add_visual_sequence_track(context, *size, _PICTURES, None, options, byref(track)))
    for frame in frames:
        image = _image(libheif, frame)
        libheif.heif_image_set_duration(image, 3)
        _check(libheif.heif_track_encode_sequence_image(track, image, encoder, options))
    _check(libheif.heif_track_encode_end_of_sequence(track, encoder))
    with tempfile.NamedTemporaryFile(suffix=".heics") as file:
        _check(libheif.heif_context_write_to_file(context, file.name.encode()))
        libheif.heif_context_free(context)
        return Path(file.name).read_bytes()


def _image(libheif: ctypes.CDLL, frame: Image.Image) -> c_void_p:
    image, stride = c_void_p(), c_int()
    _check(libheif.heif_image_create(*frame.size, _RGB, _INTERLEAVED, byref(image)))
    _check(libheif.heif_image_add_plane(image, _INTERLEAVED, *frame.size, 8))
    plane = libheif.heif_image_get_plane(image, _INTERLEAVED, byref(stride))
    rows, length = frame.convert("RGB").tobytes(), 3 * frame.width
    for row in range(frame.height):
        ctypes.memmove(plane + row * stride.value, rows[row * length : (row + 1) * length], length)
    return image


def _libheif() -> ctypes.CDLL:
    library = ctypes.CDLL(next(bundled_libraries(pillow_heif, "heif", folder="pillow_heif.libs")))
    for name, (returned, *taken) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = returned, taken
    return library


def _check(error: Any) -> None:
    assert error.code == 0, error.message
