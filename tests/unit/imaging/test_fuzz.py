"""Whatever the bytes are: a decoded picture or a fact, soon, and nothing else."""

import time
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imaging.decoding import DecodedImage, decode
from imaging.errors import UndecodableImage
from imaging.lightened import exif_orientation
from imaging.limits import DecodeLimits
from tests.harness.picture_files import PROPHOTO, SMALL, icc_profile, photo, saved, with_orientation

LIMITS = DecodeLimits(max_pixels=2_000_000, max_memory=64 * 1024 * 1024)
SECONDS = 5.0
RELAXED = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


IMAGE, OTHER, DARK = photo(40, 30), photo(40, 30, 1), Image.new("RGB", (40, 30))
GREY = IMAGE.convert("L")
SEEDS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: with_orientation(IMAGE, "JPEG", 6, icc_profile=b"p" * 99, comment=b"c"),
    "progressive": lambda: saved(IMAGE, "JPEG", progressive=True),
    "cmyk": lambda: saved(IMAGE.convert("CMYK"), "JPEG"),
    "png": lambda: with_orientation(IMAGE, "PNG", 8),
    "palette": lambda: saved(IMAGE.quantize(16), "PNG", transparency=3),
    "webp": lambda: with_orientation(IMAGE, "WEBP", 3),
    "animated": lambda: saved(IMAGE, "WEBP", save_all=True, append_images=[OTHER]),
    "gif": lambda: saved(IMAGE, "GIF", save_all=True, append_images=[OTHER], comment=b"c"),
    "out of black": lambda: saved(DARK, "GIF", save_all=True, append_images=[IMAGE, OTHER]),
    "out of black, png": lambda: saved(DARK, "PNG", save_all=True, append_images=[IMAGE, OTHER]),
    "wide": lambda: saved(IMAGE, "PNG", icc_profile=icc_profile(PROPHOTO, 1.8)),
    "bmp": lambda: saved(IMAGE, "BMP"),
    "tiff": lambda: with_orientation(IMAGE, "TIFF", 5, compression="tiff_lzw"),
    "group4": lambda: saved(GREY.convert("1"), "TIFF", compression="group4"),
    "bigtiff": lambda: saved(GREY, "TIFF", big_tiff=True),
    "floats": lambda: saved(GREY.convert("F"), "TIFF"),
    "avif": lambda: with_orientation(IMAGE, "AVIF", 6),
}
"""A small file of each kind, with metadata where the format has any."""


@cache
def seed(name: str) -> bytes:
    """That file."""
    return SEEDS[name]()


def check(data: bytes) -> None:
    """The promise."""
    start = time.process_time()
    try:
        image = decode(data, LIMITS, SMALL)
    except UndecodableImage as error:
        outcome: object = error
    else:
        outcome = image
        assert image.pixels.shape == (32, 32, 3)
    assert isinstance(outcome, DecodedImage | UndecodableImage)
    assert time.process_time() - start < SECONDS


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "delete", "repeat", "set"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def edited(data: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    """The file after some accidents; places in the first half of it are hit more often, as headers are there."""
    content = bytearray(data)
    for kind, place, new in edits:
        at = int(place * place * len(content))
        if kind == "flip" and content:
            content[at] ^= new[0] | 1
        elif kind == "insert":
            content[at:at] = new
        elif kind == "delete":
            del content[at : at + 4 * len(new)]
        elif kind == "repeat":
            content[at:at] = content[at : at + 16 * len(new)]
        else:
            content[at : at + len(new)] = new
    return bytes(content)


@pytest.mark.parametrize("name", sorted(SEEDS))
@RELAXED
@given(edits=EDITS)
def test_damaged_pictures(name: str, edits: list[tuple[str, float, bytes]]) -> None:
    """Real files with bytes flipped, put in, taken out and repeated are decoded or refused."""
    check(edited(seed(name), edits))


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_pictures_cut_at_every_place(name: str) -> None:
    """Files cut off at any byte are decoded or refused."""
    data = seed(name)
    for end in range(0, len(data), max(1, len(data) // 150)):
        check(data[:end])


@RELAXED
@given(
    magic=st.sampled_from(
        [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0",
         b"RIFF\xff\0\0\0WEBPVP8 ", b"\0\0\0\x1cftypavif", b"%PDF", b"<svg", b""]
    ),
    rest=st.binary(max_size=300),
)  # fmt: skip
def test_any_bytes_behind_a_signature(magic: bytes, rest: bytes) -> None:
    """Arbitrary bytes behind a known signature are refused, or decoded if they happen to be a picture."""
    check(magic + rest)


@RELAXED
@given(st.binary(max_size=200))
def test_any_exif(block: bytes) -> None:
    """Any EXIF block has an orientation."""
    assert exif_orientation(block) in range(1, 9)
    assert exif_orientation(b"II*\0\x08\0\0\0" + block) in range(1, 9)
