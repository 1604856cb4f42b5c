"""Which frame of an animation counts: the first one with content.

Many begin with a frame of one colour, out of which the picture comes. Two of those would be copies of each other. So
where the first frame is plain, further ones are looked at, within bounds, and the first is taken that has nearly the
contrast of the one that has most.
"""

from collections.abc import Iterable

from PIL import Image, ImageStat

MAX_FRAMES = 100
MAX_FRAME_PIXELS = 40_000_000
"""Of all frames that are looked at, together: some two seconds of computing."""

_PLAIN = 12
"""The standard deviation of lightness (of 255) below which a frame is taken for plain; photographs have 30 to 80."""

_ENOUGH = 0.8
"""The share of the most contrast that is enough."""

_COMPARED = (64, 64)


def most_frames(width: int, height: int) -> int:
    """How many frames of this size may be looked at, the first one among them; there may be no room for more."""
    return min(MAX_FRAMES, MAX_FRAME_PIXELS // (width * height))


def is_plain(frame: Image.Image) -> bool:
    """Whether next to nothing is to be seen on it."""
    return _contrast(frame) < _PLAIN


def first_with_content(frames: Iterable[Image.Image]) -> Image.Image | None:
    """The first of them that has at least four fifths of the contrast of the one that has most; None without any."""
    candidates: list[tuple[float, Image.Image]] = []
    for frame in frames:
        contrast = _contrast(frame)
        # Only what rises well above all before it can be the first to have enough; so few are held at a time.
        if not candidates or contrast > 1.02 * candidates[-1][0]:
            candidates = [one for one in candidates if one[0] >= _ENOUGH * contrast]
            candidates.append((contrast, frame))
    return candidates[0][1] if candidates else None


def _contrast(frame: Image.Image) -> float:
    return ImageStat.Stat(frame.convert("L").resize(_COMPARED, Image.Resampling.BOX)).stddev[0]
