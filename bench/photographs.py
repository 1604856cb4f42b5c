"""The pictures that are put: a folder's, or painted ones, as often as wanted, and each time with bytes of their own."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ops.gallery import make_gallery

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True, slots=True)
class Photographs:
    """Files, in order. ``run`` makes the salt of one run different from that of every other."""

    files: tuple[Path, ...]
    run: str = field(default_factory=lambda: secrets.token_hex(6))

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """Those in a folder. Raises ValueError if there is none."""
        files = tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES))
        if not files:
            raise ValueError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
        return cls(files)

    @classmethod
    def painted(cls, folder: Path, count: int) -> Self:
        """So many pictures that the project paints itself, into the folder."""
        return cls(tuple(make_gallery(folder, count=count)))

    def file(self, number: int) -> Path:
        """The file behind a number; behind more numbers than there are files, they come round again."""
        return self.files[number % len(self.files)]

    def salted(self, series: str, number: int) -> bytes:
        """The picture with this number under a series' name, with bytes that no other series and number has.

        Its pixels are the file's: what follows a picture's end is ignored by decoders.
        """
        return salted(self.file(number).read_bytes(), f"{self.run} {series} {number}")


def salted(data: bytes, salt: str) -> bytes:
    """The same picture as other bytes."""
    return data + hashlib.sha256(salt.encode()).digest()
