"""Pictures of kinds that look alike as vectors and are none of each other's copies, and scenes with copies of them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

_WORDS = [
    "of",
    "and",
    "to",
    "in",
    "that",
    "was",
    "his",
    "her",
    "with",
    "had",
    "as",
    "for",
    "the",
    "harbour",
    "morning",
    "letter",
    "captain",
    "window",
    "answer",
    "bright",
    "seldom",
    "water",
    "evening",
    "never",
    "carried",
    "across",
    "garden",
    "winter",
    "road",
    "small",
    "voice",
    "table",
    "under",
    "stone",
    "light",
    "door",
    "paper",
    "after",
]
_SIDE = 420


def png(image: Image.Image) -> bytes:
    """As a file."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    """As a file."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def scene(number: int) -> Image.Image:
    """Shapes, lines and spots of many colours: plenty to recognise."""
    chance = random.Random(f"scene {number}")
    noise = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((480, 360), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(90):
        x, y, size = chance.randrange(480), chance.randrange(360), chance.randrange(8, 60)
        colour = (chance.randrange(256), chance.randrange(256), chance.randrange(256))
        corners = [(x + chance.randint(-size, size), y + chance.randint(-size, size)) for _ in range(3)]
        if chance.random() < 0.5:
            draw.polygon(corners, fill=colour)
        else:
            draw.ellipse((x, y, x + size, y + chance.randrange(6, 50)), fill=colour)
    return image.filter(ImageFilter.GaussianBlur(0.8))


def text_page(number: int) -> Image.Image:
    """A page of a book: black words on white, other ones on each page."""
    chance = random.Random(f"page {number}")
    image = Image.new("RGB", (_SIDE, 594), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for top in range(50, 540, 19):
        line = ""
        while len(line) < 48:
            line += chance.choice(_WORDS) + " "
        draw.text((42, top), line, "black", font)
    return image


def chat(number: int) -> Image.Image:
    """A screenshot of a conversation: bubbles left and right, under the same bar."""
    chance = random.Random(f"chat {number}")
    image = Image.new("RGB", (_SIDE, 800), (236, 229, 221))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    draw.rectangle((0, 0, _SIDE, 56), fill=(7, 94, 84))
    draw.text((70, 18), "Family", "white", font)
    top = 76
    while top < 720:
        lines = chance.randint(1, 4)
        left = chance.choice((16, 120))
        bottom = top + 16 + 20 * lines
        draw.rounded_rectangle((left, top, left + 280, bottom), 12, fill="white" if left == 16 else (220, 248, 198))
        for line in range(lines):
            words = " ".join(chance.choice(_WORDS) for _ in range(5))
            draw.text((left + 14, top + 8 + 20 * line), words, "black", font)
        top = bottom + 14
    return image


def code(number: int) -> Image.Image:
    """Black and white cells with three finders, as a QR code has."""
    cells = np.random.default_rng(number).integers(0, 2, (29, 29)).astype(bool)
    for row, column in ((0, 0), (0, 22), (22, 0)):
        finder = np.ones((7, 7), bool)
        finder[1:6, 1:6] = False
        finder[2:5, 2:5] = True
        cells[row : row + 7, column : column + 7] = finder
    grey = Image.fromarray(np.where(cells, 0, 255).astype(np.uint8))
    return ImageOps.expand(grey.resize((348, 348), Image.Resampling.NEAREST), 36, 255).convert("RGB")


def in_a_phone_screenshot(picture: Image.Image) -> Image.Image:
    """The picture across the width of a phone's screen, between bars and words."""
    screen = Image.new("RGB", (540, 1110), (18, 18, 20))
    draw, font = ImageDraw.Draw(screen), ImageFont.load_default(17)
    draw.text((30, 12), "9:41            5G", "white", font)
    shown = picture.resize((540, round(540 * picture.height / picture.width)), Image.Resampling.LANCZOS)
    screen.paste(shown, (0, 240))
    for top in range(700, 1000, 44):
        draw.text((24, top), " ".join(_WORDS[top % 20 : top % 20 + 6]), (220, 220, 220), font)
    return screen


ALIKE: Mapping[str, Callable[[int], Image.Image]] = {"text page": text_page, "chat": chat, "code": code}
"""Kinds of which each number is another picture, though they score as copies do."""
