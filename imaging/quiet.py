"""libtiff tells the terminal what it thinks of damaged files, past every log; here it is told to keep quiet.

It has one handler of errors and one of warnings for the whole process, and Pillow leaves both as they are. What is
wrong with a file is told by its reason instead.
"""

import contextlib
import ctypes

import PIL
from PIL import _imaging  # noqa: F401 -- has its libraries loaded

from imaging.bundled import bundled_libraries


def silence_libtiff() -> None:
    """No message of the libtiff that Pillow uses reaches standard error from here on."""
    for library in bundled_libraries(PIL, "tiff", folder="pillow.libs"):
        # Where there is none, or it is built into Pillow's own module, nothing can be done, and nothing breaks.
        with contextlib.suppress(OSError, AttributeError):
            loaded = ctypes.CDLL(library)
            for handler in (loaded.TIFFSetErrorHandler, loaded.TIFFSetWarningHandler):
                handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
                handler(None)
