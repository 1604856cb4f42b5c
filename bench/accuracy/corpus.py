"""What is searched among what: photographs, their transformed copies, pictures that aren't there, hard negatives."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path

from PIL import Image, ImageOps

from bench.accuracy.screens import NEGATIVES, other_side
from bench.accuracy.transforms import QUALITY, TRANSFORMS, as_jpeg, transformed

ABSENT = "absent"


class Half(StrEnum):
    """Which photographs are searched for. Limits are chosen on the one half, and judged on the other.

    The digest of a file tells its half, so that it stays there whatever else is in the folder. References are those
    of both, since an index holds all; hard negatives of the two are drawn anew.
    """

    BOTH = "both"
    CHOOSING = "choosing"
    JUDGING = "judging"


@dataclass(frozen=True, slots=True)
class Search:
    """One search. `own` is the reference that is to be found, if there is one; `hidden` ones count as not indexed.

    `kind` is a transform, ``absent``, or a kind of hard negatives.
    """

    kind: str
    number: int
    own: int | None
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Corpus:
    """References are the photographs, then so many hard negatives of each kind.

    Every photograph of the half that isn't searched for may serve as one that isn't there: it is hidden from its own
    search.
    """

    photographs: tuple[Path, ...]
    searched: int
    absent: int
    negatives: int
    half: Half = Half.BOTH

    @property
    def references(self) -> int:
        """How many there are."""
        return len(self.photographs) + self.negatives * len(NEGATIVES) + self.negatives

    def reference(self, number: int) -> bytes:
        """The file of a reference."""
        if number < len(self.photographs):
            return self.photographs[number].read_bytes()
        return as_jpeg(self._drawn(number), QUALITY)

    def searches(self) -> list[Search]:
        """All that is searched for, in a fixed order."""
        eligible = [number for number, path in enumerate(self.photographs) if self.half in {Half.BOTH, half_of(path)}]
        chosen = _spread(eligible, self.searched)
        found = [Search(name, number, number, (self._background(number),)) for name in TRANSFORMS for number in chosen]
        others = _spread([number for number in eligible if number not in set(chosen)], self.absent)
        found += [Search(ABSENT, number, None, (number,)) for number in others]
        first = len(self.photographs)
        kinds = [*NEGATIVES, "other-side"]
        return found + [
            Search(kind, number, None, () if kind == "other-side" else (number,))
            for place, kind in enumerate(kinds)
            for number in range(first + place * self.negatives, first + (place + 1) * self.negatives)
        ]

    def query(self, search: Search) -> bytes:
        """The file that is searched for."""
        if search.kind not in TRANSFORMS:
            if search.kind == "other-side":
                return as_jpeg(other_side(self._chance(search.number), 1), QUALITY)
            # Saved anew, so that its bytes are its own.
            return as_jpeg(self._picture(search.number), QUALITY)
        return transformed(
            search.kind, search.number, self._picture(search.number), self._picture(self._background(search.number))
        )

    def _background(self, number: int) -> int:
        return (number + len(self.photographs) // 3) % len(self.photographs)

    def _picture(self, number: int) -> Image.Image:
        return _opened(self.photographs[number]) if number < len(self.photographs) else self._drawn(number)

    def _drawn(self, number: int) -> Image.Image:
        kind = (number - len(self.photographs)) // self.negatives
        rng = self._chance(number)
        return other_side(rng, 0) if kind == len(NEGATIVES) else list(NEGATIVES.values())[kind](rng)

    def _chance(self, number: int) -> random.Random:
        """That by which a hard negative is drawn."""
        return random.Random(f"{self.half} {number - len(self.photographs)}")


@cache
def half_of(path: Path) -> Half:
    """The half that a photograph belongs to."""
    first = hashlib.sha256(path.read_bytes()).digest()[0]
    return Half.JUDGING if first % 2 else Half.CHOOSING


def _spread(numbers: Sequence[int], count: int) -> Sequence[int]:
    """So many of them, at even distances."""
    return numbers[:: max(1, len(numbers) // max(1, count))][:count]


@lru_cache(maxsize=64)
def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")
