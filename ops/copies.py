"""What happens to pictures on their way through the world: the transformed copies that a search must find
again.

Used by `twinlens up`, the end-to-end tests and `bench/accuracy`, so that all of them speak of the same
copies.
"""

import io
from collections.abc import Callable, Mapping

from PIL import Image, ImageDraw, ImageFont, ImageOps

_QUALITY = 90
"""The JPEG quality of every copy but `jpeg-10`."""


def jpeg_10(image: Image.Image) -> bytes:
    """The same picture, recompressed at JPEG quality 10."""
    return _jpeg(image, quality=10)


def half_size(image: Image.Image) -> bytes:
    """Both sides halved."""
    return _jpeg(image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS))


def mirrored(image: Image.Image) -> bytes:
    """Left and right exchanged."""
    return _jpeg(ImageOps.mirror(image))


def crop_70(image: Image.Image) -> bytes:
    """70 % of each side (49 % of the area), a little off the middle: from 18 % left and 12 % top."""
    left, top = round(image.width * 0.18), round(image.height * 0.12)
    return _jpeg(image.crop((left, top, left + round(image.width * 0.7), top + round(image.height * 0.7))))


def grey(image: Image.Image) -> bytes:
    """Without colour."""
    return _jpeg(ImageOps.grayscale(image))


def captioned(image: Image.Image) -> bytes:
    """A black band of 14 % of the height over the lower edge, with white words on it."""
    copy = image.copy()
    band = max(8, round(copy.height * 0.14))
    draw = ImageDraw.Draw(copy)
    draw.rectangle((0, copy.height - band, copy.width, copy.height), fill="black")
    words, font = "WHEN YOU SEE IT", ImageFont.load_default(band * 0.6)
    if (length := draw.textlength(words, font)) > copy.width * 0.9:
        font = ImageFont.load_default(max(4.0, band * 0.6 * copy.width * 0.9 / length))
    draw.text((copy.width / 2, copy.height - band / 2), words, "white", font, anchor="mm")
    return _jpeg(copy)


def _jpeg(image: Image.Image, quality: int = _QUALITY) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _of_file(transform: Callable[[Image.Image], bytes]) -> Callable[[bytes], bytes]:
    def of_file(data: bytes) -> bytes:
        with Image.open(io.BytesIO(data)) as image:
            return transform(ImageOps.exif_transpose(image).convert("RGB"))

    return of_file


TRANSFORMS: Mapping[str, Callable[[bytes], bytes]] = {
    "jpeg-10": _of_file(jpeg_10),
    "half-size": _of_file(half_size),
    "mirrored": _of_file(mirrored),
    "crop-70": _of_file(crop_70),
    "grey": _of_file(grey),
    "captioned": _of_file(captioned),
}
"""By name: the bytes of a picture file that Pillow reads in, those of its transformed copy (a JPEG) out.
Deterministic.
"""
