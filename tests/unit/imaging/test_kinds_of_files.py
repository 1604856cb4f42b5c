"""Kinds of files that people have, each made here: what comes of them."""

import contextlib
import io
import random
import struct
import sys
from collections.abc import Callable

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 -- registers the format for saving
import pytest
from PIL import Image

from imaging import isolated
from imaging.decoding import decode
from imaging.errors import Broken, TooManyPixels, Truncated, UndecodableImage, UnsupportedFormat
from imaging.limits import DecodeLimits
from tests.fuzzing import fuzz
from tests.unit.imaging.pictures import LIMITS, SMALL, photo, png, saved, tiff
from tests.unit.imaging.test_decoding import distance, pixels_of

pillow_heif.register_heif_opener()


def psd(image: Image.Image) -> bytes:
    """A Photoshop document of RGB with a resource and a layer section that make no sense."""
    header = b"8BPS" + struct.pack(">H6xHLLHH", 1, 3, image.height, image.width, 8, 3)
    planes = b"".join(channel.tobytes() for channel in image.split())
    return header + bytes(4) + struct.pack(">L", 5) + b"junk!" + struct.pack(">L", 3) + b"abc" + b"\0\0" + planes


def raw(preview: Image.Image) -> bytes:
    """A camera raw file: a thumbnail of 8 × 6 in its first directory, then a JPEG preview and what the sensor saw."""
    jpeg, thumbnail = saved(preview, "JPEG"), bytes(8 * 6 * 3)
    first, children = 8 + 2 + 8 * 12 + 4, 8 + 2 + 8 * 12 + 4 + 8
    preview_at, sensor_at = children, children + 2 + 3 * 12 + 4
    rest_at = sensor_at + 2 + 2 * 12 + 4
    directories = [(254, 4, 1, 0), (513, 4, 1, rest_at + len(thumbnail)), (514, 4, 1, len(jpeg))]
    entries = [
        (254, 4, 1, 1), (256, 4, 1, 8), (257, 4, 1, 6), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 1, rest_at), (279, 4, 1, len(thumbnail)), (330, 4, 2, first),
    ]  # fmt: skip
    tables = b""
    for table in (directories, [(259, 3, 1, 1), (262, 3, 1, 32803)]):
        tables += struct.pack("<H", len(table)) + b"".join(struct.pack("<HHII", *one) for one in table) + bytes(4)
    return tiff(entries, struct.pack("<II", preview_at, sensor_at) + tables + thumbnail + jpeg)


def icon(image: Image.Image) -> bytes:
    """An icon of two sizes, the smaller one first, as bitmaps."""
    return saved(image.resize((64, 64)), "ICO", sizes=[(16, 16), (64, 64)], bitmap_format="bmp")


NEW: dict[str, Callable[[Image.Image], bytes]] = {
    "heic": lambda image: saved(image, "HEIF", quality=90),
    "jxl": lambda image: saved(image, "JXL", quality=95),
    "jp2": lambda image: saved(image, "JPEG2000"),
    "ico": icon,
    "psd": psd,
    "raw": lambda image: raw(image.resize((960, 640))),
}
SIZES = {"ico": (64, 64), "raw": (960, 640)}


@pytest.mark.parametrize("kind", NEW)
def test_formats_beyond_the_webs(kind: str) -> None:
    """HEIC, JPEG XL, JPEG 2000, icons, Photoshop documents and raw files' previews give the picture."""
    image = decode(NEW[kind](photo()), LIMITS, SMALL)
    assert (image.format, (image.width, image.height)) == (kind, SIZES.get(kind, (96, 64)))
    assert distance(image.pixels.astype(np.int16), pixels_of(saved(photo(), "PNG"))) < 9


@pytest.mark.parametrize("kind", ["heic", "jxl"])
def test_a_decoder_that_dies_is_a_fact_about_the_picture(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that decodes HEIC and JPEG XL may crash: the picture is broken, and this process goes on."""
    data = NEW[kind](photo())
    monkeypatch.setattr(isolated, "_COMMAND", (sys.executable, "-c", "import os; os.abort()"))
    with pytest.raises(Broken, match="without an answer"):
        decode(data, LIMITS, SMALL)


@pytest.mark.parametrize("kind", ["heic", "jxl"])
def test_a_decoder_is_held_to_its_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """6 megapixels decode within the bytes that are stated, and don't within far fewer, as the system sees to it."""
    data = NEW[kind](photo(3000, 2000))
    assert decode(data, LIMITS, SMALL).width == 3000
    with pytest.raises(TooManyPixels):
        decode(data, DecodeLimits(max_memory=6_000_000), SMALL)
    with pytest.raises(TooManyPixels):
        decode(data, DecodeLimits(max_pixels=5_999_999), SMALL)
    big = NEW[kind](photo(6000, 4000))
    monkeypatch.setattr(isolated, "_BYTES_A_PIXEL", {kind: 0})
    with pytest.raises(UndecodableImage):
        decode(big, LIMITS, SMALL)


def test_a_raw_file_without_a_full_preview_is_refused() -> None:
    """A raw file's thumbnail is never taken for its picture."""
    with pytest.raises(UnsupportedFormat, match="camera raw"):
        decode(raw(photo(320, 240)), LIMITS, SMALL)


def test_a_reduced_page_is_not_the_picture() -> None:
    """Of a TIFF whose first directory says that it is reduced, the page of full size is decoded."""
    out = io.BytesIO()
    photo(12, 8, seed=3).save(out, "TIFF", save_all=True, append_images=[photo()], tiffinfo={254: 1})
    image = decode(out.getvalue(), LIMITS, SMALL)
    assert (image.width, image.height) == (96, 64)


JPEG = saved(photo(400, 300), "JPEG", quality=90)
PNG = saved(photo(400, 300), "PNG")


@pytest.mark.parametrize(
    "data",
    [JPEG[:-2], JPEG + JPEG[2:], PNG[:-12], PNG + bytes(2**21), PNG + PNG[8:]],
    ids=["jpeg without end", "jpeg after jpeg", "png without end", "png and 2 MiB of zeros", "png after png"],
)
def test_the_end_of_a_file(data: bytes) -> None:
    """A missing end marker is no damage, and nothing that follows the end has an effect."""
    whole = JPEG if data.startswith(b"\xff\xd8") else PNG
    assert np.array_equal(pixels_of(data), pixels_of(whole))


@pytest.mark.parametrize("missing", [40, 400, 4000])
def test_a_scan_that_was_cut_short_is_truncated(missing: int) -> None:
    """A JPEG that lacks more than its end marker is told from one that lacks only that."""
    with pytest.raises(Truncated):
        decode(JPEG[:-missing], LIMITS, SMALL)


def test_a_stray_marker_within_a_scan() -> None:
    """A JPEG whose scan has a marker by damage looks as libjpeg shows it."""
    middle = JPEG.index(b"\xff\xda") + 4000
    damaged = JPEG[:middle] + b"\xff\xe5" + JPEG[middle + 2 :]
    shown = saved(Image.open(io.BytesIO(damaged)).convert("RGB"), "PNG")
    assert distance(pixels_of(damaged), pixels_of(shown)) < 1


def logo(box: tuple[int, int, int, int], ink: tuple[int, int, int]) -> bytes:
    """Ink on transparency."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((*ink, 255), box)
    return saved(image, "PNG")


def test_white_ink_is_seen() -> None:
    """White logos on transparency differ from each other and from blank paper; dark ones are still put on white."""
    blank = pixels_of(saved(Image.new("RGB", (64, 64), "white"), "PNG"))
    one, other = pixels_of(logo((4, 4, 20, 60), (255, 255, 255))), pixels_of(logo((30, 4, 60, 30), (250, 250, 250)))
    assert min(distance(one, other), distance(one, blank), distance(other, blank)) > 50
    assert pixels_of(logo((4, 4, 20, 60), (20, 30, 40)))[0, -1].min() == 255


def test_an_alpha_channel_that_nobody_wrote() -> None:
    """Alpha that is 0 everywhere means opaque."""
    image = photo().convert("RGBA")
    image.putalpha(0)
    assert distance(pixels_of(saved(image, "PNG")), pixels_of(saved(photo(), "PNG"))) < 1


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("bits", [12, 16])
def test_samples_of_more_than_8_bits(bits: int, *, inverted: bool) -> None:
    """A TIFF of 12 or 16 bits is as bright as it declares, and WhiteIsZero is followed."""
    grey = np.asarray(photo().convert("L")).astype(np.uint32) * (2**bits - 1) // 255
    samples = (2**bits - 1) - grey if inverted else grey
    packed = samples.astype("<u2").tobytes()
    if bits == 12:
        pairs = samples.reshape(-1, 2)
        parts = [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255]
        packed = np.stack(parts, axis=1).astype(np.uint8).tobytes()
    at = 8 + 2 + 9 * 12 + 4
    data = tiff(
        [
            (256, 4, 1, 96), (257, 4, 1, 64), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 0 if inverted else 1),
            (273, 4, 1, at), (277, 3, 1, 1), (278, 4, 1, 64), (279, 4, 1, len(packed)),
        ],
        packed,
    )  # fmt: skip
    shown = saved(photo().convert("L").convert("RGB"), "PNG")
    assert distance(pixels_of(data), pixels_of(shown)) < 2


def test_cmyk_without_a_marker() -> None:
    """A CMYK JPEG without Adobe's marker is taken as inverted, as browsers take it."""
    data = saved(photo().convert("CMYK"), "JPEG", quality=95)
    start = data.index(b"\xff\xee")
    bare = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4]) :]
    assert distance(pixels_of(bare), pixels_of(saved(photo(), "PNG"))) < 6


def test_an_intact_file_of_another_flavour_is_not_broken() -> None:
    """A JPEG of 12 bits and TIFF files with rare samples or compressions are unsupported: nothing is damaged."""
    start = JPEG.index(b"\xff\xc0")
    twelve = JPEG[: start + 4] + b"\x0c" + JPEG[start + 5 :]
    size = [(256, 4, 1, 9), (257, 4, 1, 9)]
    webp = tiff([*size, (259, 3, 1, 50001), (273, 4, 1, 8)])
    half = tiff([*size, (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (339, 3, 1, 3)], bytes(200))
    for data in (twelve, webp, half):
        with pytest.raises(UnsupportedFormat):
            decode(data, LIMITS, SMALL)


def test_what_a_phone_of_108_megapixels_saves() -> None:
    """A JPEG is decoded at a fraction of its size, so that 108 megapixels pass; no picture of more than 200 does."""
    image = decode(saved(Image.new("L", (12_032, 9_024), 99), "JPEG"), LIMITS, SMALL)
    assert (image.width, image.height) == (12_032, 9_024)
    with pytest.raises(TooManyPixels):
        decode(png(20_001, 10_000, b"", depth=1, colour=0), LIMITS, SMALL)


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", NEW)
def test_damaged_files_give_a_picture_or_a_reason(kind: str) -> None:
    """Whatever is wrong with them, and nothing else."""
    chance, whole = random.Random(kind), NEW[kind](photo(40, 30))
    limits = DecodeLimits(max_pixels=2_000_000, max_memory=128 * 1024 * 1024)

    def try_one() -> None:
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            at = int(chance.random() ** 2 * len(data))
            data[at : at + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 4))
        with contextlib.suppress(UndecodableImage):
            assert decode(bytes(data), limits, SMALL).pixels.shape == (32, 32, 3)

    fuzz(try_one)
