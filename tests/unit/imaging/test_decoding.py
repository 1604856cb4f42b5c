"""What comes out of pictures of every kind."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from imaging.decoding import DecodedImage, content_type_of, decode
from imaging.errors import TooManyPixels
from imaging.model_spec import PixelSpec
from imaging.thumbnails import thumbnail
from tests.harness.picture_files import LIMITS, SMALL, photo, png, saved, with_orientation
from tests.unit.imaging.pixels import REFERENCE, distance, pixels_of

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_picture(kind: str) -> None:
    """A picture keeps its look, size and format's name whichever format it is saved in."""
    image = decode(saved(photo(), kind), LIMITS, SMALL)
    assert (image.width, image.height, image.format) == (96, 64, kind.lower())
    assert image.content_type == f"image/{kind.lower()}" == content_type_of(image.format)
    assert image.pixels.shape == (32, 32, 3)
    assert image.pixels.dtype == np.uint8
    assert distance(image.pixels.astype(np.int16), REFERENCE) < 9


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_png_mode(mode: str) -> None:
    """PNG files of every pixel mode are decoded to what Pillow shows, 16-bit samples by their high byte."""
    if mode == "I;16":
        grey = np.asarray(photo().convert("L")).astype(np.uint16) * 257
        data, shown = saved(Image.fromarray(grey), "PNG"), photo().convert("L").convert("RGB")
    else:
        image = photo().quantize(64) if mode == "P" else photo().convert(mode)
        data, shown = saved(image, "PNG"), image.convert("RGB")
    assert distance(pixels_of(data), pixels_of(saved(shown, "PNG"))) < 1


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("1", {"compression": "group4"}),
        ("L", {}),
        ("P", {}),
        ("RGB", {"compression": "tiff_lzw"}),
        ("RGB", {"compression": "jpeg"}),
        ("RGB", {"compression": "tiff_adobe_deflate", "big_tiff": True}),
        ("RGBA", {"compression": "tiff_deflate"}),
        ("CMYK", {}),
        ("YCbCr", {}),
        ("I", {}),
        ("F", {}),
    ],
)
def test_every_tiff_mode(mode: str, options: dict[str, object]) -> None:
    """TIFF files of every pixel mode and compression are decoded to the picture that was saved."""
    image = photo().convert("L").convert(mode) if mode in ("I", "F") else photo().convert(mode)
    shown = image.convert("L").convert("RGB") if mode in ("I", "F") else image.convert("RGB")
    assert distance(pixels_of(saved(image, "TIFF", **options)), pixels_of(saved(shown, "PNG"))) < 3


def test_sixteen_bit_colour() -> None:
    """A PNG with 16 bits a channel is the picture with 8."""
    deep = np.asarray(photo()).astype(">u2") * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    assert distance(pixels_of(png(96, 64, rows, depth=16)), REFERENCE) < 1


@pytest.mark.parametrize("top", [1.0, 255.0, 65_535.0, 3e38])
def test_float_samples_are_scaled(top: float) -> None:
    """32-bit floats from 0 to 1, 255, 65,535 or anything else give the same grey picture, and NaN is black."""
    grey = np.asarray(photo().convert("L")).astype(np.float32)
    grey -= grey.min()
    data = saved(Image.fromarray((grey / grey.max() * np.float32(top)).astype(np.float32)), "TIFF")
    shown = saved(Image.fromarray((grey / grey.max() * 255).astype(np.uint8)), "PNG")
    assert distance(pixels_of(data), pixels_of(shown)) < 2
    nan = saved(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF")
    assert pixels_of(nan).max() == 0


def test_cmyk_jpeg() -> None:
    """A CMYK JPEG, whose samples are inverted, has its colours."""
    assert distance(pixels_of(saved(photo().convert("CMYK"), "JPEG", quality=95)), REFERENCE) < 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "AVIF", "TIFF"])
def test_transparency_is_put_on_white(kind: str) -> None:
    """What is transparent is white, whatever colour lies behind the transparency."""
    image = photo().convert("RGBA")
    image.paste((255, 0, 0, 0), (0, 0, 96, 32))
    pixels = pixels_of(saved(image, kind))
    assert pixels[:14].min() > 245
    assert distance(pixels[18:], REFERENCE[18:]) < 12


def test_half_transparency_is_mixed_with_white() -> None:
    """A half transparent black is a middle grey, in RGBA and in LA."""
    for mode, colour in (("RGBA", (0, 0, 0, 128)), ("LA", (0, 128))):
        pixels = pixels_of(saved(Image.new(mode, (50, 50), colour), "PNG"))
        assert abs(int(pixels.min()) - 127) <= 1
        assert abs(int(pixels.max()) - 127) <= 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_frame_counts(kind: str) -> None:
    """Of an animation or of several pages the first is decoded."""
    data = saved(photo(), kind, save_all=True, append_images=[photo(seed=2), photo(seed=3)], duration=100)
    assert distance(pixels_of(data), REFERENCE) < 9


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    """Each EXIF orientation gives the pixels and the size that Pillow's own transposition gives."""
    turned = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }[orientation]
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind in ("JPEG", "AVIF") else {}
    image = decode(with_orientation(photo(), kind, orientation, **options), LIMITS, SMALL)
    upright = photo() if turned is None else photo().transpose(turned)
    assert (image.width, image.height) == upright.size
    difference = np.abs(image.pixels.astype(np.int16) - pixels_of(saved(upright, "PNG")))
    assert difference.max() <= (0 if kind in ("PNG", "WEBP", "TIFF") else 12)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"junk" * 9])
def test_senseless_exif_is_no_orientation(exif: bytes) -> None:
    """An EXIF block that can't be read leaves the picture as it is."""
    data = saved(photo(), "JPEG", quality=95, exif=b"Exif\0\0" + exif)
    assert distance(pixels_of(data), pixels_of(saved(photo(), "JPEG", quality=95))) == 0


def test_metadata_changes_nothing() -> None:
    """Comments, profiles, thumbnails and text leave no trace in the pixels."""
    plain, profile = saved(photo(), "JPEG"), bytes(range(256)) * 1000
    assert distance(pixels_of(saved(photo(), "JPEG", comment=b"x" * 9999, icc_profile=profile)), pixels_of(plain)) == 0
    assert distance(pixels_of(plain + b"\0" * 99_999), pixels_of(plain)) == 0
    assert distance(pixels_of(saved(photo(), "PNG", icc_profile=profile)), REFERENCE) == 0


def test_progressive_and_large_jpeg_are_the_same_picture() -> None:
    """A JPEG that is decoded at a fraction of its size looks like the one decoded in full."""
    spec = PixelSpec(width=64, height=64)
    large = photo(1600, 1200)
    full = np.asarray(large.resize((64, 64), Image.Resampling.BILINEAR)).astype(np.int16)
    for options in ({}, {"progressive": True}):
        image = decode(saved(large, "JPEG", quality=95, **options), LIMITS, spec)
        assert (image.width, image.height) == (1600, 1200)
        assert distance(image.pixels.astype(np.int16), full) < 2


def test_reducing_by_strips_is_reducing_at_once() -> None:
    """A picture of many strips gives the pixels that reducing the whole of it gives."""
    spec = PixelSpec(width=16, height=16)
    large = photo(1500, 1111)
    whole = large.reduce((1500 // 32, 1111 // 32)).resize((16, 16), Image.Resampling.BILINEAR)
    image = decode(saved(large, "BMP"), LIMITS, spec)
    assert np.array_equal(image.pixels, np.asarray(whole))


@pytest.mark.parametrize("size", [(1, 1), (65_535, 1), (1, 65_535), (3, 2), (20_000, 7)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    """Pictures of one pixel, one row or one column are pictures."""
    image: DecodedImage = decode(saved(photo(*size), "PNG"), LIMITS, SMALL)
    assert (image.width, image.height) == size
    assert image.pixels.shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_a_screenshot_of_a_whole_conversation(kind: str) -> None:
    """A picture of 100,000 rows is decoded, and its thumbnail shows all of it."""
    long = Image.new("1", (400, 100_000))
    long.paste(1, (0, 50_000, 400, 100_000))
    image = decode(saved(long, kind), LIMITS, SMALL)
    assert (image.width, image.height) == long.size
    assert image.pixels[:15].max() == 0
    assert image.pixels[17:].min() == 255
    assert Image.open(io.BytesIO(thumbnail(saved(long, kind), LIMITS, 320))).size == (1, 320)


def test_a_side_that_libjpeg_does_not_decode_is_told() -> None:
    """A JPEG of 65,500 rows is decoded; of one that is longer it is said how long it may be."""
    data = saved(Image.new("L", (8, 65_500), 99), "JPEG")
    assert decode(data, LIMITS, SMALL).height == 65_500
    at = data.index(b"\xff\xc0") + 5
    with pytest.raises(TooManyPixels, match="65,500"):
        decode(data[:at] + (65_520).to_bytes(2) + data[at + 2 :], LIMITS, SMALL)


def test_crop_takes_the_middle() -> None:
    """With `crop` the shorter side is fitted and the middle is kept, undistorted."""
    wide = Image.new("RGB", (300, 100), "black")
    wide.paste("white", (100, 0, 200, 100))
    pixels = pixels_of(saved(wide, "PNG"), PixelSpec(width=32, height=32, resize="crop"))
    assert pixels[:, 1:-1].min() > 250
    assert pixels_of(saved(wide, "PNG"))[:, :8].max() < 5


@pytest.mark.parametrize("size", [(300, 400), (640, 401), (256, 256), (97, 231), (1999, 1024), (60, 1500)])
def test_resize_and_centre_crop_are_torchvisions(size: tuple[int, int]) -> None:
    """The pixels of `Resize(256)` and `CenterCrop(224)`, to the last bit; of very long pictures, to a level."""
    spec = PixelSpec(width=224, height=224, resize="crop", resize_size=256, reducing_gap=8)
    image = photo(*size)
    scaled = image.resize([256 * side // min(size) for side in size], Image.Resampling.BILINEAR)
    left, top = (round((side - 224) / 2) for side in scaled.size)
    expected = np.asarray(scaled.crop((left, top, left + 224, top + 224))).astype(np.int16)
    assert np.abs(pixels_of(saved(image, "PNG"), spec) - expected).max() <= (max(size) > 8 * min(size))


def test_a_larger_gap_comes_closer_to_resampling_alone() -> None:
    """At a `reducing_gap` of 4 a large picture differs less from one that is not reduced before."""
    rng = np.random.default_rng(0)
    large = Image.fromarray(rng.integers(0, 256, (1200, 1600, 3), np.uint8))
    full = np.asarray(large.resize((64, 64), Image.Resampling.BILINEAR)).astype(np.int16)
    two, four = (pixels_of(saved(large, "BMP"), PixelSpec(width=64, height=64, reducing_gap=gap)) for gap in (2, 4))
    assert distance(four, full) < 0.5 * distance(two, full)


def test_decoding_is_deterministic() -> None:
    """The same bytes give the same pixels."""
    data = saved(photo(900, 700), "JPEG")
    assert np.array_equal(pixels_of(data), pixels_of(data))


def test_lab_is_converted() -> None:
    """A TIFF in the L*a*b* colour space has the colours of the picture that it was made from."""
    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(photo(), *spaces, outputMode="LAB")
    assert lab is not None
    assert distance(pixels_of(saved(lab, "TIFF")), REFERENCE) < 3
