"""Thumbnails."""

import io

import numpy as np
import pytest
from PIL import Image

from imaging.errors import UndecodableImage
from imaging.thumbnails import thumbnail
from tests.harness.picture_files import LIMITS, photo, saved, with_orientation


def opened(data: bytes) -> Image.Image:
    """The thumbnail as Pillow sees it."""
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("size", "asked", "expected"),
    [
        ((1200, 600), 320, (320, 160)),
        ((600, 1200), 320, (160, 320)),
        ((100, 50), 320, (100, 50)),
        ((5000, 3), 320, (320, 1)),
        ((1, 1), 320, (1, 1)),
        ((700, 500), 1, (1, 1)),
    ],
)
def test_the_longer_side_fits(size: tuple[int, int], asked: int, expected: tuple[int, int]) -> None:
    """The longer side is at most what was asked for, proportions are kept, nothing is enlarged."""
    image = opened(thumbnail(saved(photo(*size), "PNG"), LIMITS, asked))
    assert image.format == "JPEG"
    assert image.size == expected


def test_it_is_upright_and_bare() -> None:
    """EXIF orientation is applied, and no metadata is carried along."""
    data = with_orientation(photo(400, 200), "JPEG", 6, icc_profile=b"x" * 500, comment=b"secret")
    image = opened(thumbnail(data, LIMITS, 100))
    assert image.size == (50, 100)
    assert not image.getexif()
    assert "icc_profile" not in image.info
    assert "comment" not in image.info


def test_it_looks_like_the_picture() -> None:
    """A thumbnail has the colours of its picture."""
    image = opened(thumbnail(saved(photo(800, 600), "PNG"), LIMITS, 80)).convert("RGB")
    for x, y in ((5, 5), (75, 5), (40, 30), (75, 55)):
        small, large = image.getpixel((x, y)), photo(800, 600).getpixel((x * 10, y * 10))
        assert isinstance(small, tuple)
        assert isinstance(large, tuple)
        assert all(abs(a - b) < 25 for a, b in zip(small, large, strict=True))


def test_white_ink_is_seen_on_it() -> None:
    """A white logo on transparency has a thumbnail on which it can be told from its ground."""
    logo = Image.new("RGBA", (300, 300), (255, 255, 255, 0))
    logo.paste((255, 255, 255, 255), (40, 40, 120, 260))
    shown = np.asarray(opened(thumbnail(saved(logo, "PNG"), LIMITS, 100)).convert("L"))
    assert shown.min() < 20
    assert shown.max() > 235


def test_bad_input() -> None:
    """What can't be decoded raises its fact; a senseless size is the caller's mistake."""
    with pytest.raises(UndecodableImage):
        thumbnail(b"text", LIMITS)
    for size in (0, 2049):
        with pytest.raises(ValueError, match="1 to 2048"):
            thumbnail(saved(photo(), "PNG"), LIMITS, size)
