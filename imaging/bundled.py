"""Where the libraries are that a package's wheel brings along, to call in them what the package leaves out."""

import ctypes.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType


def bundled_libraries(package: ModuleType, library: str, *, folder: str) -> Iterator[str]:
    """What may be the `library` (``tiff`` for libtiff) that a package uses: paths and names to load, likeliest first.

    Wheels bring it in ``folder`` on Linux and within the package on macOS; it is the system's if the package was built
    here. There may be none, or one that was not loaded.
    """
    root = Path(str(package.__file__)).parent
    for place in (root.parent / folder, root / ".dylibs"):
        yield from map(str, place.glob(f"lib{library}*"))
    system = ctypes.util.find_library(library)
    if system is not None:
        yield system
