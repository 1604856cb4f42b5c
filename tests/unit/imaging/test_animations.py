"""Of animations the first frame with content counts."""

import time

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from imaging.decoding import decode
from imaging.errors import TooManyPixels, Truncated
from imaging.limits import DecodeLimits
from tests.harness.picture_files import LIMITS, SMALL, photo, saved
from tests.unit.imaging.heic_sequences import heic_sequence
from tests.unit.imaging.pixels import distance, pixels_of

pillow_heif.register_heif_opener()

KINDS = ("GIF", "WEBP", "PNG", "AVIF", "HEIC")
STEPS = 10


def fading(seed: int, steps: int = STEPS) -> list[Image.Image]:
    """Out of black comes a picture."""
    picture = np.asarray(photo(seed=seed)).astype(np.float64)
    return [Image.fromarray((picture * step / (steps - 1)).astype(np.uint8)) for step in range(steps)]


def animation(kind: str, frames: list[Image.Image]) -> bytes:
    """A file with these frames."""
    if kind == "HEIC":
        return heic_sequence(frames)
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=40)


@pytest.mark.parametrize("kind", KINDS)
def test_an_animation_that_begins_black_is_its_picture(kind: str) -> None:
    """It is near to the picture that comes out of the dark, and two such animations are far from each other."""
    one, other = (pixels_of(animation(kind, fading(seed))) for seed in (0, 3))
    still = pixels_of(saved(photo(), "PNG"))
    assert distance(one, still) < 30
    assert distance(one, other) > 30


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", ["black", "white"])
def test_plain_frames_are_passed_by(kind: str, colour: str) -> None:
    """However many frames of one colour come first, of those that are looked at."""
    plain = [Image.new("RGB", (96, 64), colour), Image.new("RGB", (96, 64), "grey")] * 3
    assert distance(pixels_of(animation(kind, [*plain, photo(), photo(seed=2)])), pixels_of(saved(photo(), "PNG"))) < 9


@pytest.mark.parametrize("kind", KINDS)
def test_an_animation_of_nothing_is_its_first_frame(kind: str) -> None:
    """Where no frame has content, the first one counts."""
    frames = [Image.new("RGB", (96, 64), colour) for colour in ("black", "navy", "black")]
    assert pixels_of(animation(kind, frames)).max() < 12


def test_a_plain_cover_is_passed_by() -> None:
    """A HEIC file's primary picture counts, unless nothing is to be seen on it: then the first frame with content."""
    black = Image.new("RGB", (96, 64))
    for cover, frames in ((photo(), [photo(seed=2)]), (black, [black, photo(), photo(seed=2)])):
        data = heic_sequence(frames, cover=cover)
        assert data[8:12] in (b"heic", b"mif1", b"hevc", b"msf1")
        assert distance(pixels_of(data), pixels_of(saved(photo(), "PNG"))) < 9


def test_a_cover_of_another_size_counts() -> None:
    """What a HEIC file shows as a whole is never replaced by a sequence of another shape beside it."""
    image = decode(heic_sequence([photo()], cover=Image.new("RGB", (64, 64))), LIMITS, SMALL)
    assert (image.width, image.height) == (64, 64)
    assert image.pixels.max() < 12


def test_a_sequence_is_held_to_the_limits() -> None:
    """Frames that refer to each other are kept by the decoder, so that a sequence takes more memory than a picture."""
    frame = photo(160, 120)
    limits = DecodeLimits(max_memory=30 * 160 * 120)
    assert decode(saved(frame, "HEIF"), limits, SMALL).width == 160
    with pytest.raises(TooManyPixels):
        decode(heic_sequence([frame, photo(160, 120, 1)]), limits, SMALL)


def test_a_sequence_without_its_frames_is_truncated() -> None:
    """A HEIC file that ends before its first frame says so."""
    data = heic_sequence(fading(0, 3))
    with pytest.raises(Truncated):
        decode(data[: data.index(b"mdat") + 8], LIMITS, SMALL)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "HEIC"])
def test_a_damaged_animation_is_what_came_before(kind: str) -> None:
    """Frames after the damage are not missed where one before it has content."""
    data = animation(kind, [Image.new("RGB", (96, 64)), photo(), photo(seed=2), photo(seed=3)])
    image = decode(data[: len(data) * 3 // 4], LIMITS, SMALL)
    assert distance(image.pixels.astype(np.int16), pixels_of(saved(photo(), "PNG"))) < 9


def test_a_frame_beyond_the_canvas_ends_an_animation() -> None:
    """A later frame that is larger than the picture takes no memory: it is not looked at."""
    data = animation("GIF", [Image.new("L", (96, 64)), photo().convert("L")])
    frame = data.rindex(b"\x2c\0\0\0\0\x60\0\x40\0")
    large = data[:frame] + b"\x2c\0\0\0\0" + b"\xff\x7f\xff\x7f" + data[frame + 9 :]
    image = decode(large, DecodeLimits(max_memory=8 * 1024 * 1024), SMALL)
    assert (image.width, image.height) == (96, 64)
    assert image.pixels.max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_a_long_animation_is_looked_at_within_bounds(kind: str) -> None:
    """Hundreds of black frames cost no more than those that are looked at, in time and in memory."""
    frames = [Image.fromarray(np.full((600, 800), value % 3, np.uint8)) for value in range(300)]
    data = animation(kind, frames)
    start = time.process_time()
    assert decode(data, DecodeLimits(max_memory=64 * 1024 * 1024), SMALL).pixels.max() < 9
    assert time.process_time() - start < 5
