"""HEIC image sequences, which libheif reads and pillow-heif has no functions for: libheif is called directly.

It is the library that pillow-heif brings (heif_sequences.h, libheif 1.20 and later). Used in the process that decodes
alone, since whatever is wrong with a call by ctypes ends the process.
"""

import ctypes
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint16, c_uint32, c_void_p
from functools import cache
from typing import Any

import pillow_heif
from PIL import Image

from imaging.bundled import bundled_libraries
from imaging.errors import Broken, UnsupportedFormat

_COLOURS_RGB, _INTERLEAVED_RGB, _INTERLEAVED = 1, 10, 10
"""heif_colorspace_RGB, heif_chroma_interleaved_RGB, heif_channel_interleaved."""

_UNSUPPORTED = (3, 4)
"""heif_error_Unsupported_filetype, heif_error_Unsupported_feature."""
_MEMORY_ALLOCATION = 6
_END_OF_SEQUENCE = 13


class _Error(ctypes.Structure):
    _fields_ = (("code", c_int), ("subcode", c_int), ("message", c_char_p))


_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "heif_context_alloc": (c_void_p,),
    "heif_context_set_max_decoding_threads": (None, c_void_p, c_int),
    "heif_context_read_from_memory_without_copy": (_Error, c_void_p, c_char_p, c_size_t, c_void_p),
    "heif_context_has_sequence": (c_int, c_void_p),
    "heif_context_get_track": (c_void_p, c_void_p, c_uint32),
    "heif_track_get_image_resolution": (_Error, c_void_p, POINTER(c_uint16), POINTER(c_uint16)),
    "heif_track_decode_next_image": (_Error, c_void_p, POINTER(c_void_p), c_int, c_int, c_void_p),
    "heif_image_get_width": (c_int, c_void_p, c_int),
    "heif_image_get_height": (c_int, c_void_p, c_int),
    "heif_image_get_plane_readonly": (c_void_p, c_void_p, c_int, POINTER(c_int)),
    "heif_image_release": (None, c_void_p),
}
"""What is called of libheif: what each returns, then what it takes."""


class HeicSequence:
    """The frames of a file's first visual track. What libheif holds of it lives as long as its process."""

    def __init__(self, data: bytes) -> None:
        """Raises `UnsupportedFormat` where libheif is too old for sequences or a file's flavour, `Broken`."""
        self._libheif = _libheif()
        self._data = data  # libheif reads it where it lies.
        context = self._libheif.heif_context_alloc()
        self._libheif.heif_context_set_max_decoding_threads(context, 1)
        _check(self._libheif.heif_context_read_from_memory_without_copy(context, data, len(data), None))
        self._track = None
        if self._libheif.heif_context_has_sequence(context):
            self._track = self._libheif.heif_context_get_track(context, 0)
        width, height = c_uint16(), c_uint16()
        if self._track:
            _check(self._libheif.heif_track_get_image_resolution(self._track, byref(width), byref(height)))
        self.size = (width.value, height.value)

    @property
    def has_frames(self) -> bool:
        """Whether there is a track of pictures."""
        return bool(self._track) and min(self.size) > 0

    def frames(self) -> Iterator[Image.Image]:
        """All of them as RGB, each once. Raises `UnsupportedFormat`, `Broken`, `MemoryError`."""
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Image.Image | None:
        image = c_void_p()
        error = self._libheif.heif_track_decode_next_image(
            self._track, byref(image), _COLOURS_RGB, _INTERLEAVED_RGB, None
        )
        if error.code == _END_OF_SEQUENCE:
            return None
        _check(error)
        try:
            return self._copied(image)
        finally:
            self._libheif.heif_image_release(image)

    def _copied(self, image: c_void_p) -> Image.Image:
        width = self._libheif.heif_image_get_width(image, _INTERLEAVED)
        height = self._libheif.heif_image_get_height(image, _INTERLEAVED)
        if (width, height) != self.size:
            raise Broken("The HEIC file has a frame of another size than it declares.")
        stride = c_int()
        plane = self._libheif.heif_image_get_plane_readonly(image, _INTERLEAVED, byref(stride))
        pixels = (ctypes.c_char * (stride.value * (height - 1) + 3 * width)).from_address(plane)
        return Image.frombytes(
            "RGB", self.size, bytes(pixels).ljust(stride.value * height, b"\0"), "raw", "RGB", stride.value
        )


def _check(error: _Error) -> None:
    if not error.code:
        return
    if error.code in _UNSUPPORTED:
        raise UnsupportedFormat("The file is a HEIC image sequence of a flavour that is not supported.")
    if error.code == _MEMORY_ALLOCATION:
        raise MemoryError
    raise Broken("The HEIC image sequence is broken and can't be decoded.")


@cache
def _libheif() -> ctypes.CDLL:
    """Raises `UnsupportedFormat` where it isn't found, or is older than its functions for sequences."""
    for path in bundled_libraries(pillow_heif, "heif", folder="pillow_heif.libs"):
        try:
            library = ctypes.CDLL(path)
            for name, (returned, *taken) in _FUNCTIONS.items():
                function = getattr(library, name)
                function.restype, function.argtypes = returned, taken
        except (OSError, AttributeError):
            continue
        return library
    raise UnsupportedFormat("The file is a HEIC image sequence, which this installation's libheif doesn't read.")
