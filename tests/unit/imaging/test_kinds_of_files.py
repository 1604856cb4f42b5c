"""Kinds of files that people have, each made here: what comes of them."""

import base64
import contextlib
import io
import random
import signal
import struct
import sys
from collections.abc import Callable

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 -- registers the format for saving
import pytest
from PIL import Image

from imaging import isolated, isolated_pool
from imaging.decoding import decode
from imaging.errors import Broken, TooManyPixels, UndecodableImage, UnsupportedFormat
from imaging.limits import DecodeLimits
from tests.harness.fuzzing import fuzz
from tests.harness.picture_files import LIMITS, SMALL, photo, png, saved, tiff, with_orientation
from tests.unit.imaging.formats import NEW, raw
from tests.unit.imaging.heic_sequences import heic_sequence
from tests.unit.imaging.pixels import distance, pixels_of

pillow_heif.register_heif_opener()


QUICKLY: dict[str, Callable[[Image.Image], bytes]] = {
    "heic": lambda image: saved(image, "HEIF", quality=90, enc_params={"preset": "ultrafast"}),
    "jxl": NEW["jxl"],
}
"""For large pictures: HEIC is encoded in a sixth of the time."""
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
    isolated_pool.end_idle()
    with monkeypatch.context() as patched:
        patched.setattr(isolated_pool, "COMMAND", (sys.executable, "-c", "import os; os.abort()"))
        with pytest.raises(Broken, match="without an answer"):
            decode(data, LIMITS, SMALL)
    assert decode(data, LIMITS, SMALL).width == 96


@pytest.mark.parametrize("kind", ["heic", "jxl"])
def test_a_process_that_is_kept_warm_harms_no_other_picture(kind: str) -> None:
    """Pictures that are decoded one after the other have one process; one that fails takes it with it, and one that
    died while it was idle is replaced.
    """
    data = NEW[kind](photo())
    isolated_pool.end_idle()
    decode(data, LIMITS, SMALL)
    [warm] = isolated_pool._idle
    decode(data, LIMITS, SMALL)
    assert isolated_pool._idle == [warm]
    with pytest.raises(UndecodableImage):
        decode(data[: len(data) // 2], LIMITS, SMALL)
    assert isolated_pool._idle == []
    decode(data, LIMITS, SMALL)
    [idle] = isolated_pool._idle
    idle._process.kill()
    idle._process.wait()
    assert decode(data, LIMITS, SMALL).width == 96
    assert isolated_pool._idle != [idle]


def test_a_decoder_is_not_stopped_with_its_service() -> None:
    """Signals that stop a service reach all its processes; a decoder goes on, so that no picture counts as broken."""
    data = NEW["heic"](photo())
    isolated_pool.end_idle()
    decode(data, LIMITS, SMALL)
    [warm] = isolated_pool._idle
    for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        warm._process.send_signal(asked)
    assert decode(data, LIMITS, SMALL).width == 96
    assert isolated_pool._idle == [warm]


def test_a_process_that_is_kept_warm_ends_after_so_many_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process lives on for ever, nor do more than a few wait."""
    monkeypatch.setattr(isolated_pool, "_MOST_PICTURES", 2)
    data = NEW["heic"](photo())
    isolated_pool.end_idle()
    left = []
    for _ in range(4):
        decode(data, LIMITS, SMALL)
        left.append(len(isolated_pool._idle))
    assert left == [1, 0, 1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["heic", "jxl"])
def test_a_decoder_is_held_to_its_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """6 megapixels decode within the bytes that are stated, and don't within far fewer, as the system sees to it."""
    data = QUICKLY[kind](photo(3000, 2000))
    assert decode(data, LIMITS, SMALL).width == 3000
    with pytest.raises(TooManyPixels):
        decode(data, DecodeLimits(max_memory=6_000_000), SMALL)
    with pytest.raises(TooManyPixels):
        decode(data, DecodeLimits(max_pixels=5_999_999), SMALL)
    big = QUICKLY[kind](photo(6000, 4000))
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
    [JPEG[:-2], JPEG[:-1], JPEG[:-2] + b"\xff" * 500, JPEG + JPEG[2:], PNG[:-12], PNG + bytes(2**21), PNG + PNG[8:]],
    ids=[
        "jpeg without end",
        "jpeg with half an end",
        "jpeg and erased flash",
        "jpeg after jpeg",
        "png without end",
        "png and 2 MiB of zeros",
        "png after png",
    ],
)
def test_the_end_of_a_file(data: bytes) -> None:
    """A missing end marker is no damage, and nothing that follows the end has an effect."""
    whole = JPEG if data.startswith(b"\xff\xd8") else PNG
    assert np.array_equal(pixels_of(data), pixels_of(whole))


def test_metadata_after_the_end_turns_nothing() -> None:
    """Of a shorter picture that was written over a longer one, the longer one's orientation is none of its own."""
    for kind, whole in (("PNG", PNG), ("JPEG", JPEG)):
        image = decode(whole + with_orientation(photo(500, 400), kind, 6)[8:], LIMITS, SMALL)
        assert (image.width, image.height) == (400, 300)


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


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "HEIF"])
def test_an_alpha_channel_that_nobody_wrote(kind: str) -> None:
    """Alpha that is 0 everywhere means opaque, in every format that keeps the colours below."""
    image = photo(300, 200).convert("RGBA")
    image.putalpha(0)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {"quality": -1} if kind == "HEIF" else {}
    assert distance(pixels_of(saved(image, kind, **options)), pixels_of(saved(photo(300, 200), "PNG"))) < 2


def test_a_bitmap_whose_alpha_was_never_set() -> None:
    """A BMP of 32 bits that declares alpha (version 4) and has none is opaque, as browsers show it."""
    pixels = np.zeros((64, 96, 4), np.uint8)
    pixels[..., :3] = np.asarray(photo())[::-1, :, ::-1]
    masks = struct.pack("<4L", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<LllHHLLllLL", 108, 96, 64, 1, 32, 3, pixels.nbytes, 2835, 2835, 0, 0) + masks
    header = info + b"BGRs" + bytes(48)
    data = b"BM" + struct.pack("<LLL", 14 + 108 + pixels.nbytes, 0, 14 + 108) + header + pixels.tobytes()
    assert distance(pixels_of(data), pixels_of(saved(photo(), "PNG"))) < 1


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
    """JPEG of 12 bits, JPEG-LS, and TIFF files with rare samples or compressions are unsupported, not damaged."""
    start = JPEG.index(b"\xff\xc0")
    twelve = JPEG[: start + 4] + b"\x0c" + JPEG[start + 5 :]
    size = [(256, 4, 1, 9), (257, 4, 1, 9)]
    webp = tiff([*size, (259, 3, 1, 50001), (273, 4, 1, 8)])
    half = tiff([*size, (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (339, 3, 1, 3)], bytes(200))
    near_lossless = JPEG[:start] + b"\xff\xf7" + JPEG[start + 2 :]
    for data in (twelve, near_lossless, webp, half):
        with pytest.raises(UnsupportedFormat):
            decode(data, LIMITS, SMALL)


def test_a_heif_file_of_another_codec_is_not_broken() -> None:
    """What libheif has no decoder for is unsupported: an AVIF picture that names itself by HEIF's brand alone."""
    brands = b"\0\0\0\x14ftypmif1\0\0\0\0mif1"
    avif = saved(photo(), "AVIF")
    length = int.from_bytes(avif[:4])
    # The places that the file names stay what they are: the rest of its first box is free space.
    data = brands + (length - len(brands)).to_bytes(4) + b"free" + avif[len(brands) + 8 : length] + avif[length:]
    with pytest.raises(UnsupportedFormat):
        decode(data, LIMITS, SMALL)


HALVES = base64.b64decode(
    "/woHGSVFiwATiAIANAK1nyAAABUqo4wbvJzr+fJDh8W0jesMbbVtYQljs70wSAiAg6kou20bqFJpHT6UkAlhAIATZbQL7OI3vwc4/x8uwAwOMvSk"
    "E8KXK2MF5irmNVMggGRCAnNFhRTIlSJPkTHGi4x3xxgvXozx4o1Gx3MZBbcvGllv+i82YFCt8RNuRERXeXHGVOdSBIBBDgA="
)
"""A JPEG XL picture of 48 × 32 floats of 16 bits, from 0 at the left to 1 at the right; libjxl 0.11."""

MOVING = base64.b64decode(
    "/woHBU0AICcAEwgoANAAtZ8gAAAVKqOMG7yc6/nyQ4fFtI3rDG21bWEJY7O9MEgIsOLrGxWBqoAwgNNYAfL+lFBJAgATKAoA7AC1nyAAABUqo4wb"
    "vJzr+fJDh8W0jesMbbVtYQljs70wSAiASxVjYzDYMFYhc9AMKhpGdUyiQAJNJipJAA=="
)
"""A JPEG XL animation of 48 × 32 pixels: a black frame, then a light grey one; libjxl 0.11."""


def test_floats_of_16_bits_in_jpeg_xl() -> None:
    """Grey samples of half a float, for which Pillow has no mode, are as bright as whole ones."""
    ramp = pixels_of(HALVES)[16, :, 0]
    assert np.abs(ramp - np.linspace(0, 255, len(ramp))).max() < 8


def test_a_jpeg_xl_animation_is_told_as_one() -> None:
    """What decodes JPEG XL gives an animation's last frame, which may be anything: it is intact, and not read."""
    with pytest.raises(UnsupportedFormat, match="animated"):
        decode(MOVING, LIMITS, SMALL)


def test_what_a_phone_of_108_megapixels_saves() -> None:
    """A JPEG is decoded at a fraction of its size, so that 108 megapixels pass; no picture of more than 200 does."""
    image = decode(saved(Image.new("L", (12_032, 9_024), 99), "JPEG"), LIMITS, SMALL)
    assert (image.width, image.height) == (12_032, 9_024)
    with pytest.raises(TooManyPixels):
        decode(png(20_001, 10_000, b"", depth=1, colour=0), LIMITS, SMALL)


FUZZED: dict[str, Callable[[Image.Image], bytes]] = {
    **NEW,
    "heic sequence": lambda image: heic_sequence([Image.new("RGB", image.size), image], cover=image),
}


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", FUZZED)
def test_damaged_files_give_a_picture_or_a_reason(kind: str) -> None:
    """Whatever is wrong with them, and nothing else."""
    chance, whole = random.Random(kind), FUZZED[kind](photo(40, 30))
    limits = DecodeLimits(max_pixels=2_000_000, max_memory=128 * 1024 * 1024)

    def try_one() -> None:
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            at = int(chance.random() ** 2 * len(data))
            data[at : at + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 4))
        with contextlib.suppress(UndecodableImage):
            assert decode(bytes(data), limits, SMALL).pixels.shape == (32, 32, 3)

    fuzz(try_one)
