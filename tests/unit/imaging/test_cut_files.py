"""Files that were cut short: what is there of them is decoded where it is enough, and how much it is is said."""

import contextlib
import io
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from PIL import Image

from imaging.decoding import DecodedImage, decode
from imaging.errors import Truncated, UndecodableImage
from imaging.thumbnails import thumbnail
from tests.harness.picture_files import LIMITS, SMALL, photo, saved, with_orientation
from tests.unit.imaging.formats import NEW, psd
from tests.unit.imaging.pixels import distance, pixels_of


@cache
def noise(width: int = 400, height: int = 300) -> Image.Image:
    """A picture with as much detail everywhere, so that half of a file is half of the picture."""
    grain = np.random.default_rng(5).normal(0, 18, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(photo(width, height)) + grain, 0, 255).astype(np.uint8))


FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(noise(), "JPEG", quality=90),
    "grey jpeg": lambda: saved(noise().convert("L"), "JPEG"),
    "cmyk jpeg": lambda: saved(noise().convert("CMYK"), "JPEG"),
    "png": lambda: saved(noise(), "PNG"),
    "png with alpha": lambda: saved(noise().convert("RGBA"), "PNG"),
    "png with a palette": lambda: saved(noise().quantize(64), "PNG"),
    "png of 16 bits": lambda: saved(Image.fromarray(np.asarray(noise().convert("L")).astype(np.uint16) * 257), "PNG"),
    "gif": lambda: saved(noise().quantize(64), "GIF", interlace=False),
    "gif with a transparent colour": lambda: saved(noise().quantize(64), "GIF", interlace=False, transparency=9),
    "bmp": lambda: saved(noise(), "BMP"),
    "tiff": lambda: saved(noise(), "TIFF"),
}
GREY = ("grey jpeg", "png of 16 bits")


@cache
def file(name: str) -> bytes:
    """That file, whole."""
    return FILES[name]()


def cut(data: bytes, share: float) -> DecodedImage:
    """What is decoded of this share of a file."""
    return decode(data[: int(len(data) * share)], LIMITS, SMALL)


@pytest.mark.parametrize("name", FILES)
def test_most_of_a_file_is_most_of_the_picture(name: str) -> None:
    """Of three quarters of a file about as many rows are decoded, and nothing but them; the size is the whole one's."""
    image = cut(file(name), 0.75)
    assert (image.width, image.height) == (400, 300)
    assert image.share is not None
    assert image.share == pytest.approx(0.74, abs=0.1)
    rows = round(300 * image.share)
    box = (0, 300 - rows, 400, 300) if name == "bmp" else (0, 0, 400, rows)
    shown = noise().convert("L") if name in GREY else noise()
    assert distance(image.pixels.astype(np.int16), pixels_of(saved(shown.crop(box).convert("RGB"), "PNG"))) < 25
    assert decode(file(name), LIMITS, SMALL).share is None


@pytest.mark.parametrize("name", FILES)
def test_a_smaller_part_is_truncated(name: str) -> None:
    """Of less than half a picture nothing is made."""
    with pytest.raises(Truncated):
        cut(file(name), 0.35)


@pytest.mark.parametrize("name", ["jpeg", "png"])
def test_zeros_in_place_of_the_rest_are_no_picture(name: str) -> None:
    """A file that was made as long as it was to become, and then not written to its end, is one that was cut short."""
    data = file(name)
    length = len(data) * 3 // 4
    filled = decode(data[:length] + bytes(len(data) - length), LIMITS, SMALL)
    assert filled.share == cut(data, 0.75).share
    with pytest.raises(Truncated):
        decode(data[: length // 3] + bytes(2**21), LIMITS, SMALL)


def test_a_progressive_jpeg_is_there_once_its_first_scans_are() -> None:
    """Less detail is there all over, and it says so; without all colours in the coarse it is as any other."""
    data = saved(noise(), "JPEG", quality=90, progressive=True)
    image = cut(data, 0.5)
    assert image.share == 1.0
    assert distance(image.pixels.astype(np.int16), pixels_of(data)) < 12
    first = data.index(b"\xff\xda")
    with pytest.raises(Truncated):
        decode(data[: first + 500], LIMITS, SMALL)


def test_the_part_is_turned_as_the_whole_is() -> None:
    """Of a picture that lies on its side the rows that are there are columns of what is shown, thumbnails too."""
    data = with_orientation(noise(), "JPEG", 6, quality=90)
    part = data[: len(data) * 3 // 4]
    image = decode(part, LIMITS, SMALL)
    assert (image.width, image.height) == (300, 400)
    assert image.share is not None
    right = noise().crop((0, 0, 400, round(300 * image.share))).transpose(Image.Transpose.ROTATE_270)
    assert distance(image.pixels.astype(np.int16), pixels_of(saved(right, "PNG"))) < 15
    small = Image.open(io.BytesIO(thumbnail(part, LIMITS, 200)))
    assert small.size == (round(200 * 300 * image.share / 400), 200)


def test_a_document_is_there_once_its_last_plane_is() -> None:
    """Photoshop's planes lie one after the other, so most of such a file is one colour short."""
    assert cut(psd(noise()), 0.9).share == pytest.approx(0.7, abs=0.05)
    with pytest.raises(Truncated):
        cut(psd(noise()), 0.6)


OTHERS: dict[str, Callable[[], bytes]] = {
    "webp": lambda: saved(noise(), "WEBP"),
    "avif": lambda: saved(noise(), "AVIF"),
    "jp2": lambda: saved(noise(), "JPEG2000"),
    "heic": lambda: NEW["heic"](noise()),
    "tiff with its directory behind": lambda: saved(noise(), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_decoded_in_part_is_truncated(name: str) -> None:
    """Formats whose decoders give all or nothing are told as cut short, not as broken."""
    with pytest.raises(Truncated):
        cut(OTHERS[name](), 0.8)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "group4", "packbits"])
def test_nothing_is_written_past_the_log(compression: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What libtiff thinks of a damaged file reaches no terminal; the reason says it."""
    image = noise(200, 100).convert("1" if compression == "group4" else "RGB")
    data = bytearray(saved(image, "TIFF", compression=compression))
    for at in range(600, len(data) - 600, 97):
        data[at] ^= 0x5A
    with contextlib.suppress(UndecodableImage):
        decode(bytes(data), LIMITS, SMALL)
    assert capfd.readouterr().err == ""
