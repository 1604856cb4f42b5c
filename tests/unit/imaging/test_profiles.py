"""Colour profiles: pictures in a wide gamut look as they are meant to."""

import contextlib
import io
import random
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from imaging.decoding import decode
from imaging.errors import UndecodableImage
from imaging.profiles import to_srgb
from imaging.thumbnails import thumbnail
from tests.harness.fuzzing import fuzz
from tests.harness.picture_files import (
    ADOBE_RGB,
    DISPLAY_P3,
    LIMITS,
    PROPHOTO,
    SMALL,
    icc_profile,
    photo,
    png,
    png_chunk,
    saved,
)
from tests.unit.imaging.pixels import REFERENCE, distance, pixels_of

pillow_heif.register_heif_opener()

WIDE = {
    "ProPhoto": icc_profile(PROPHOTO, 1.8),
    "Adobe RGB": icc_profile(ADOBE_RGB, 2.2),
    "Display P3": icc_profile(DISPLAY_P3, 2.2),
}


def converted(profile: bytes) -> Image.Image:
    """The usual picture, its values those of this profile."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    image = ImageCms.profileToProfile(photo(), ImageCms.createProfile("sRGB"), target)
    assert image is not None
    image.info.clear()
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("name", WIDE)
def test_a_wide_gamut_has_the_colours_of_srgb(kind: str, name: str) -> None:
    """In every format that carries profiles, pixels and thumbnails are those of the picture in sRGB."""
    options: dict[str, Any] = {} if kind in ("PNG", "TIFF") else {"quality": 95}
    data = saved(converted(WIDE[name]), kind, icc_profile=WIDE[name], **options)
    plain = saved(converted(WIDE[name]), kind, **options)
    assert distance(pixels_of(data), REFERENCE) < 5
    assert distance(pixels_of(data), REFERENCE) < 0.7 * distance(pixels_of(plain), REFERENCE)
    shown = np.asarray(Image.open(io.BytesIO(thumbnail(data, LIMITS, 32)))).astype(np.int16)
    right = np.asarray(Image.open(io.BytesIO(thumbnail(saved(photo(), "PNG"), LIMITS, 32)))).astype(np.int16)
    assert np.abs(shown - right).mean() < 6


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_srgb_changes_nothing(kind: str) -> None:
    """Whether a picture carries the profile of sRGB or none makes no difference, not even of a level."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(pixels_of(saved(photo(), kind, icc_profile=profile)), pixels_of(saved(photo(), kind)))


def test_a_profile_of_other_pixels_is_ignored() -> None:
    """A profile that says it is of CMYK or grey, or is larger than any honest one, changes nothing."""
    wide = WIDE["ProPhoto"]
    for profile in (wide[:16] + b"CMYK" + wide[20:], wide[:16] + b"GRAY" + wide[20:], wide + bytes(2**20), b"", b"x"):
        assert to_srgb(photo(), profile).tobytes() == photo().tobytes()


def test_a_profile_that_unpacks_to_much_is_not_unpacked() -> None:
    """A PNG whose profile is gigabytes of zeros, packed to a megabyte, is decoded without it."""
    import zlib

    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(photo()))
    bomb = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**27), 9))
    assert distance(pixels_of(png(96, 64, rows, extra=bomb)), REFERENCE) < 1


@pytest.mark.fuzz
def test_damaged_profiles_change_colours_at_most() -> None:
    """Whatever is wrong with a profile, the picture is decoded."""
    chance = random.Random(7)

    def try_one() -> None:
        profile = bytearray(chance.choice(list(WIDE.values())))
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(profile))
            profile[at : at + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 4))
        assert to_srgb(photo(), bytes(profile)).size == (96, 64)
        data = saved(photo(), "JPEG", icc_profile=bytes(profile))
        with contextlib.suppress(UndecodableImage):
            assert decode(data, LIMITS, SMALL).pixels.shape == (32, 32, 3)

    fuzz(try_one)
