"""What people do to pictures: 23 transforms, each deterministic by the picture's number."""

# ruff: noqa: ARG001, ARG005 -- all transforms have one signature

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from bench.accuracy.screens import desktop, phone
from ops.copies import TRANSFORMS as COPIES

type Transform = Callable[[Image.Image, Image.Image, random.Random], Image.Image | bytes]
"""A picture, another one that serves as background, and chance; out comes a picture, or the bytes of a file."""

QUALITY = 88
"""The JPEG quality of what isn't said to be compressed otherwise."""
HARD = frozenset({"inset-35", "crop-30"})
"""The two whose targets are lower than those of the others."""


def _of_copies(name: str) -> Transform:
    return lambda image, background, rng: COPIES[name](as_jpeg(image, 95))


def _crop(share: float) -> Transform:
    return lambda image, background, rng: _cut(image, share, rng)


def _cut(image: Image.Image, share: float, rng: random.Random) -> Image.Image:
    width, height = max(1, round(image.width * share)), max(1, round(image.height * share))
    # Within the middle two thirds of what can be chosen: edges are often empty.
    left, top = (round(room * (1 / 6 + rng.random() * 2 / 3)) for room in (image.width - width, image.height - height))
    return image.crop((left, top, left + width, top + height))


def _scaled(share: float) -> Transform:
    return lambda image, background, rng: image.resize(
        (max(1, round(image.width * share)), max(1, round(image.height * share))), Image.Resampling.LANCZOS
    )


def _turned(degrees: float) -> Transform:
    return lambda image, background, rng: image.rotate(
        degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255)
    )


def _inset(share: float) -> Transform:
    """The background keeps its shape; the picture is fitted into this share of each of its sides."""

    def inset(image: Image.Image, background: Image.Image, rng: random.Random) -> Image.Image:
        whole = background.copy()
        box = max(8, round(whole.width * share)), max(8, round(whole.height * share))
        small = ImageOps.contain(image, box, Image.Resampling.LANCZOS)
        whole.paste(small, (rng.randint(0, whole.width - small.width), rng.randint(0, whole.height - small.height)))
        return whole

    return inset


def _noise(image: Image.Image, background: Image.Image, rng: random.Random) -> Image.Image:
    noise = np.random.default_rng(rng.randrange(2**32)).normal(0, 20, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _text(image: Image.Image, background: Image.Image, rng: random.Random) -> Image.Image:
    copy = image.copy()
    draw = ImageDraw.Draw(copy)
    size = max(10.0, copy.height / 9)
    for line, place in (("ONE DOES NOT SIMPLY", 0.1), ("COPY A PICTURE", 0.88)):
        font = ImageFont.load_default(size * min(1.0, 0.95 * copy.width / draw.textlength(line, _font(size))))
        at = (copy.width / 2, copy.height * place)
        draw.text(at, line, "white", font, anchor="mm", stroke_width=max(1, round(size / 12)), stroke_fill="black")
    return copy


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _stickers(image: Image.Image, background: Image.Image, rng: random.Random) -> Image.Image:
    copy = image.copy()
    draw = ImageDraw.Draw(copy)
    side = min(copy.size)
    for _ in range(5):
        x, y, radius = rng.random() * copy.width, rng.random() * copy.height, side * rng.uniform(0.08, 0.14)
        colour = tuple(rng.randrange(80, 256) for _ in range(3))
        draw.circle((x, y), radius, colour, "black", max(1, round(radius / 12)))
        for eye in (-0.35, 0.35):
            draw.circle((x + eye * radius, y - 0.25 * radius), radius * 0.12, "black")
        draw.arc((x - radius / 2, y - radius / 2, x + radius / 2, y + radius / 2), 20, 160, "black", 3)
    return copy


def _border(image: Image.Image, background: Image.Image, rng: random.Random) -> Image.Image:
    wide = round(0.18 * max(image.size))
    return ImageOps.expand(image, wide, rng.choice(["white", "black", "#2b4c7e", "#e8dcc0"]))


def _colour_shift(image: Image.Image, background: Image.Image, rng: random.Random) -> Image.Image:
    pixels = np.array(image.convert("HSV"))
    pixels[..., 0] += np.uint8(rng.choice([30, 60, 200]))  # Hues go round.
    return Image.fromarray(pixels, "HSV").convert("RGB")


def _combination(image: Image.Image, background: Image.Image, rng: random.Random) -> Image.Image:
    return _text(ImageOps.mirror(_cut(image, 0.7, rng)), background, rng)


TRANSFORMS: Mapping[str, Transform] = {
    "identity": lambda image, background, rng: image,
    "jpeg-10": _of_copies("jpeg-10"),
    "quarter-size": _scaled(0.25),
    "crop-70": _crop(0.7),
    "crop-50": _crop(0.5),
    "crop-30": _crop(0.3),
    "mirrored": _of_copies("mirrored"),
    "turned-15": _turned(15),
    "turned-90": _turned(90),
    "grey": _of_copies("grey"),
    "contrast": lambda image, background, rng: ImageEnhance.Contrast(image).enhance(1.8),
    "blur": lambda image, background, rng: image.filter(ImageFilter.GaussianBlur(max(image.size) / 250)),
    "noise": _noise,
    "squash": lambda image, background, rng: image.resize((round(image.width * 0.65), image.height)),
    "text": _text,
    "stickers": _stickers,
    "phone-screenshot": lambda image, background, rng: phone(image, rng),
    "desktop-screenshot": lambda image, background, rng: desktop(image, rng),
    "inset-60": _inset(0.6),
    "inset-35": _inset(0.35),
    "border": _border,
    "colour-shift": _colour_shift,
    "combination": _combination,
}
"""By name."""


def transformed(name: str, number: int, image: Image.Image, background: Image.Image) -> bytes:
    """The file of a transformed copy: the same for the same arguments."""
    made = TRANSFORMS[name](image, background, random.Random(f"{name} {number}"))
    return made if isinstance(made, bytes) else as_jpeg(made, QUALITY)


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    """The file of a picture."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
