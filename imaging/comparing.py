"""Two picture files beside each other: what is kept of each, where they show the same thing, and what was changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from PIL import Image

from imaging.changes import Change, changes
from imaging.likeness import differing
from imaging.limits import DecodeLimits
from imaging.local_features import CLOSE, QUICK, Closeness, LocalFeatures, local_features
from imaging.local_match import COPY_INLIERS, LocalMatch, match
from imaging.raster import read

_COLOURS: Final = 160
"""Pixels of the longer side of what is kept to compare levels and colours on."""
SURE_SHARE: Final[Mapping[Closeness, float]] = {QUICK: 0.9, CLOSE: 0.71}
"""Of the points that look alike so many agree where something was put on a copy; on another picture, they don't."""
SURE_DIFFERING: Final = 0.4
"""Then so much of it may differ."""
COPY_DIFFERING: Final = 0.05
"""What differs no more is a copy, however few points told where it lies. A form with other entries differs more."""
COPY_SHARE: Final = 0.25
"""Of those few points so many have to agree."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparable:
    """What is kept of a picture to compare it with others, of which as close a look was taken."""

    look: Closeness
    features: LocalFeatures
    colours: Image.Image
    """A small picture, RGB."""

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.features.nbytes + 3 * self.colours.width * self.colours.height

    @property
    def is_featureless(self) -> bool:
        """Whether there is nothing to be found again, as in one flat colour."""
        return len(self.features.points) == 0

    @property
    def has_few_features(self) -> bool:
        """Whether there are too few to say that another picture is a copy."""
        return len(self.features.points) < COPY_INLIERS


class PictureComparison(NamedTuple):
    """How one picture lies on another, None if they have nothing in common, and what makes the one of the other."""

    match: LocalMatch | None
    changes: tuple[Change, ...] = ()


def comparable(data: bytes, limits: DecodeLimits, look: Closeness = CLOSE) -> Comparable:
    """Decode a picture file and look at it. Plain computing, safe in any thread. Raises UndecodableImage."""
    raster = read(data, limits, CLOSE.side, CLOSE.side)
    scale = min(1.0, _COLOURS / max(raster.width, raster.height))
    size = (max(1, round(raster.width * scale)), max(1, round(raster.height * scale)))
    return Comparable(look, local_features(raster, look), raster.rgb.resize(size, Image.Resampling.BOX))


def verified(one: Comparable, other: Comparable) -> LocalMatch | None:
    """How the one lies on the other, and whether it is a copy: local features and what lies on each other say so.

    Plain computing, safe in any thread; the same pictures give the same answer.
    """
    found = match(one.features, other.features)
    if found is None:
        return None
    differs = differing(found, one.colours, other.colours)
    return replace(found, is_copy=_is_copy(found, differs, SURE_SHARE[one.look]))


def _is_copy(match: LocalMatch, differing: float | None, sure_share: float) -> bool:
    if differing is None:
        return match.agrees
    if match.agrees and match.share >= sure_share:
        return differing < SURE_DIFFERING
    return differing <= COPY_DIFFERING and match.share >= COPY_SHARE


def compared(one: Comparable, other: Comparable) -> PictureComparison:
    """The same, and what makes the one of the other."""
    found = verified(one, other)
    if found is None:
        return PictureComparison(None)
    return PictureComparison(found, changes(found.inverse(), other.colours, one.colours) if found.is_copy else ())


def open_after_quick(matches: Sequence[LocalMatch | None]) -> list[int]:
    """Which of a search's hits a close look is worth, after a quick one at each.

    Where a copy was found, those whose points agree as a copy's do; otherwise all of them.
    """
    found = any(match is not None and match.is_copy for match in matches)
    return [
        place
        for place, match in enumerate(matches)
        if not found or (match is not None and match.agrees and not match.is_copy)
    ]
