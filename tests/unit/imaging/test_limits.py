"""What is refused, with which reason, and how soon."""

import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image

from imaging.decoding import decode
from imaging.errors import REASONS, UndecodableImage
from imaging.limits import DecodeLimits
from tests.harness.picture_files import LIMITS, SMALL, photo, png, png_chunk, saved, tiff

MEGABYTE = 1024 * 1024
PATIENCE = 2.5
"""Seconds of computing, so that a busy machine doesn't count; most of these take some hundredths."""


def reason_of(data: bytes, limits: DecodeLimits = LIMITS) -> str:
    """The reason for which the bytes are refused, or the decoded size."""
    start = time.process_time()
    try:
        image = decode(data, limits, SMALL)
        answer = f"{image.width}×{image.height}"
    except UndecodableImage as error:
        answer = error.reason
    assert time.process_time() - start < PATIENCE
    return answer


def archive() -> bytes:
    """A ZIP file."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.jpg", b"x")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\0", "not_an_image"),
        (b"hello, world\n" * 100, "not_an_image"),
        ("Grüße".encode() * 100, "not_an_image"),
        (b"<!DOCTYPE html><html></html>", "not_an_image"),
        (b'<?xml version="1.0"?><feed/>', "not_an_image"),
        (archive(), "not_an_image"),
        (b"MZ" + bytes(200), "not_an_image"),
        (b"\x7fELF" + bytes(200), "not_an_image"),
        (b"\0\0\0\x18ftypisom" + bytes(200), "not_an_image"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
        (b"%PDF-1.7\n", "unsupported_format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "broken"),
        (b"8BPS\0\2" + bytes(200), "unsupported_format"),
        (b"II\xbc\x01" + bytes(200), "unsupported_format"),
        (b"v/1\x01" + bytes(200), "unsupported_format"),
        (b"#?RADIANCE\n" + bytes(200), "unsupported_format"),
        (b"P6\n1 1\n255\n" + bytes(3), "unsupported_format"),
        (b"P2\n1 1\n255\n7\n", "unsupported_format"),
        (b"P 1 is a road\n", "not_an_image"),
        (b"qoif" + bytes(200), "unsupported_format"),
        (b"\0\0\2\0" + bytes(200), "unsupported_format"),
        (bytes(128) + b"DICM" + bytes(200), "unsupported_format"),
        (b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(200), "unsupported_format"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(200), "unsupported_format"),
        (b'<?xml version="1.0"?>\n<!--' + b"a <b> " * 900 + b'-->\n<svg width="9"/>', "unsupported_format"),
        (b"<!--" + b"-" * 100_000, "not_an_image"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"GIF89a" + bytes(20), "truncated"),
        (b"II*\0\x08\0\0\0", "truncated"),
        (b"BM" + bytes(200), "broken"),
        (b"RIFF\x80\0\0\0WEBPVP8 " + b"x" * 120, "broken"),
        (b"RIFF\x80\0\0\0WEBPVP8 " + bytes(120), "truncated"),
        (b"\0\0\0\x20ftypavif" + bytes(20) + b"\0\0\0\x40meta" + b"x" * 56, "broken"),
    ],
)
def test_what_is_no_picture(data: bytes, reason: str) -> None:
    """Anything under a picture's name is refused with the reason that fits it."""
    assert reason_of(data) == reason
    assert reason in REASONS
    with pytest.raises(UndecodableImage) as caught:
        decode(data, LIMITS, SMALL)
    assert str(caught.value) == caught.value.detail
    assert caught.value.detail.endswith(".")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_truncated_files(kind: str, share: float) -> None:
    """A file of which most was cut off is refused as truncated, whatever its format."""
    data = saved(photo(400, 300), kind)
    assert reason_of(data[: int(len(data) * share)]) == "truncated"


def test_bytes_are_counted_first() -> None:
    """A file above the byte limit is refused whatever is in it, and one at the limit is not."""
    data = saved(photo(), "PNG")
    assert reason_of(data, DecodeLimits(max_bytes=len(data))) == "96×64"
    assert reason_of(data, DecodeLimits(max_bytes=len(data) - 1)) == "too_many_bytes"
    assert reason_of(b"x" * 100, DecodeLimits(max_bytes=99)) == "too_many_bytes"


def test_pixels_and_sides_are_limited() -> None:
    """The area and the longer side are held, each to its own limit."""
    data = saved(photo(), "JPEG")
    assert reason_of(data, DecodeLimits(max_pixels=96 * 64)) == "96×64"
    assert reason_of(data, DecodeLimits(max_pixels=96 * 64 - 1)) == "too_many_pixels"
    assert reason_of(data, DecodeLimits(max_side=95)) == "too_many_pixels"
    assert reason_of(png(500_001, 1, bytes(2_000_000))) == "too_many_pixels"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_memory_is_limited(kind: str) -> None:
    """A picture whose decoding takes more than the memory allowed is refused before it is decoded."""
    limits = DecodeLimits(max_memory=20_000)
    assert reason_of(saved(photo(), kind), limits) == "too_many_pixels"


def test_a_large_jpeg_needs_little_memory() -> None:
    """A JPEG is decoded at a fraction of its size, so that it fits where a PNG doesn't; a progressive one doesn't."""
    limits = DecodeLimits(max_memory=2_000_000)
    assert reason_of(saved(photo(2000, 1500), "JPEG"), limits) == "2000×1500"
    assert reason_of(saved(photo(2000, 1500), "JPEG", progressive=True), limits) == "too_many_pixels"
    assert reason_of(saved(photo(2000, 1500), "PNG"), limits) == "too_many_pixels"


def test_a_png_bomb() -> None:
    """60,000 × 60,000 pixels in a few hundred kilobytes are refused by the header alone."""
    compressor = zlib.compressobj(9)
    rows = compressor.compress(bytes(60_001 * 3)) + compressor.flush()
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    assert reason_of(data) == "too_many_pixels"


def test_the_limits_are_not_pillows() -> None:
    """Pictures between Pillow's own limits and ours are decoded, without a warning."""
    assert reason_of(png(9_999, 9_999, bytes(9_999 * (9_999 // 8 + 2)), depth=1, colour=0)) == "9999×9999"


JPEG = saved(photo(), "JPEG")
GIF = saved(photo().quantize(256), "GIF")
GIF_BLOCKS = 13 + 3 * 256
BIG = 20 * MEGABYTE
NINE = [(256, 4, 1, 9), (257, 4, 1, 9)]
"""The tags of a TIFF of 9 × 9 pixels."""


@pytest.mark.parametrize(
    ("make", "outcome"),
    [
        (lambda: JPEG[:2] + b"\xff" + bytes(BIG) + JPEG[2:], "96×64"),
        (lambda: JPEG[:20] + b"\xff" * BIG + JPEG[20:], "96×64"),
        (lambda: JPEG[:20] + b"\xff\x00" * (BIG // 2) + JPEG[20:], "96×64"),
        (lambda: JPEG[:2] + (b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)) * 300 + JPEG[2:], "96×64"),
        (lambda: JPEG[:2] + b"\xff\xfe\0\2" * (BIG // 4) + JPEG[2:], "broken"),
        (lambda: JPEG[:-2] + b"\xff\xd0" * (BIG // 2), "96×64"),
        (lambda: png(9, 9, bytes(999), extra=png_chunk(b"teSt", b"") * (BIG // 12)), "broken"),
        (lambda: png(9, 9, bytes(999), extra=png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(BIG * 10), 9))), "9×9"),
        (lambda: png(9, 9, bytes(999), extra=png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(BIG * 10), 9))), "9×9"),
        (lambda: GIF[:GIF_BLOCKS] + b"\x21\xfe" + b"\1a" * (BIG // 2) + b"\0" + GIF[GIF_BLOCKS:], "broken"),
        (lambda: GIF[:GIF_BLOCKS] + b"\x21\xff\0" * (BIG // 3) + GIF[GIF_BLOCKS:], "broken"),
        (lambda: tiff([(tag, 1, BIG, 0) for tag in range(65_535)], bytes(BIG)), "broken"),
        (lambda: tiff([*NINE, (273, 4, 3_000_000, 200)], bytes(BIG)), "broken"),
        (lambda: tiff([*NINE, (322, 4, 1, 65_000), (323, 4, 1, 65_000), (324, 4, 1, 8)]), "too_many_pixels"),
        (lambda: tiff([(256, 4, 1, 60_000), (257, 4, 1, 60_000), (273, 4, 1, 8)], bytes(99)), "too_many_pixels"),
        (
            lambda: b"BM" + struct.pack("<IHHIIiiHHIIIIII", 9, 0, 0, 1078, 40, 3500, 3500, 1, 8, 1, 0, 0, 0, 256, 0)
            + bytes(1024) + b"\1\1" * (BIG // 2),
            "unsupported_format",
        ),
    ],
    ids=[
        "jpeg junk", "jpeg fill bytes", "jpeg stuffed zeros", "jpeg 20 MB of EXIF", "jpeg empty comments",
        "jpeg restarts after the end", "png empty chunks", "png text bomb", "png profile bomb", "gif comment",
        "gif empty extensions", "tiff overlapping tags", "tiff strips", "tiff tile", "tiff size", "bmp run lengths",
    ],
)  # fmt: skip
def test_files_that_cost_time(make: Callable[[], bytes], outcome: str) -> None:
    """Megabytes of what isn't pixels, in every container, are passed over or refused within a moment."""
    assert reason_of(make()) == outcome


def test_a_thousand_scans() -> None:
    """A small progressive JPEG with a thousand scans, which would take a minute, is refused at once."""
    data = saved(Image.new("L", (4000, 4000), 99), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    assert reason_of(data[:-2] + last * 1000 + b"\xff\xd9") == "broken"
    assert reason_of(data) == "4000×4000"
