"""Server programs in a cache folder outside the checkout, each made once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

COMPLETE = ".complete"
"""Marker file in a finished folder; a folder without it was interrupted and is made again."""


def cache_folder() -> Path:
    """`TWINLENS_CACHE`, else `~/.cache/twinlens`; created when missing."""
    folder = Path(os.environ.get("TWINLENS_CACHE") or Path.home() / ".cache" / "twinlens").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold an advisory lock on the file `lock`; the kernel drops it if this process dies."""
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The cache folder `name`; `make` fills it on the first call, whichever process makes that call.

    `make` gets an empty folder that is renamed when it returns, so a folder that is there is whole.
    Whatever `make` raises passes through and leaves nothing behind that a later call would trust.
    """
    folder = cache_folder() / name
    with exclusive(folder.with_name(f".{name}.lock")):
        if not (folder / COMPLETE).exists():
            partial = folder.with_name(f"{name}.partial")
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            make(partial)
            (partial / COMPLETE).touch()
            partial.rename(folder)
    return folder
