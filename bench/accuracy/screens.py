"""What screens and printers show, drawn by the project: around pictures, and by themselves as hard negatives.

Two of a kind (pages of text, chats, codes, forms) look much alike and aren't copies of each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

_SYLLABLES = (
    "ka",
    "lo",
    "mi",
    "ren",
    "ta",
    "su",
    "ver",
    "do",
    "ni",
    "pel",
    "gra",
    "to",
    "sin",
    "ba",
    "ur",
    "cho",
    "wi",
)
_PAGE = (1240, 1754)
_MODULES = 41


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def words(rng: random.Random, count: int) -> str:
    """So many made-up words."""
    return " ".join("".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(count))


def phone(image: Image.Image, rng: random.Random) -> Image.Image:
    """A phone's screen that shows the picture across its whole width, in an app of light or dark colours."""
    dark = rng.random() < 0.5
    ground, ink = ("#101014", "#f0f0f0") if dark else ("#ffffff", "#202020")
    screen = Image.new("RGB", (1080, 2160), ground)
    draw = ImageDraw.Draw(screen)
    draw.text((48, 20), f"{rng.randint(0, 23)}:{rng.randint(10, 59)}", ink, _font(40))
    draw.rectangle((930, 28, 1030, 62), None, ink, 4)
    draw.circle((100, 180), 48, "#888888")
    draw.text((180, 150), words(rng, 2).title(), ink, _font(48))
    shown = ImageOps.contain(image, (1080, 1500))
    screen.paste(shown, ((1080 - shown.width) // 2, 260))
    below = 260 + shown.height + 30
    for line in range(4):
        draw.text((48, below + 64 * line), words(rng, rng.randint(3, 6)), ink, _font(42))
    for place in range(5):
        draw.rounded_rectangle((70 + 210 * place, 2050, 150 + 210 * place, 2120), 12, None, ink, 5)
    return screen


def desktop(image: Image.Image, rng: random.Random) -> Image.Image:
    """A web page in a browser on a desktop, with the picture among text and boxes, on a quarter of the area or less."""
    screen = Image.new("RGB", (1600, 1000), "#fafafa")
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 1600, 84), "#d8dce4")
    draw.rounded_rectangle((220, 40, 1300, 76), 16, "#ffffff")
    draw.text((250, 44), f"www.{words(rng, 1)}.example/{words(rng, 1)}", "#303030", _font(24))
    draw.text((120, 110), words(rng, 5).title(), "#202020", _font(48))
    shown = ImageOps.contain(image, (800, 560))
    screen.paste(shown, (120, 190))
    for line in range(3):
        draw.text((120, 200 + shown.height + 34 * line), words(rng, 9), "#303030", _font(24))
    for box in range(4):
        top = 190 + 190 * box
        draw.rounded_rectangle((1080, top, 1480, top + 165), 10, rng.choice(["#e8eef8", "#f8eee8", "#ecf6ea"]))
        draw.text((1100, top + 20), words(rng, 3), "#303030", _font(26))
        draw.text((1100, top + 64), words(rng, 4), "#606060", _font(22))
    return screen


def page(rng: random.Random) -> Image.Image:
    """A printed page: the same heading and letterhead, other words."""
    paper = Image.new("RGB", _PAGE, "#ffffff")
    draw = ImageDraw.Draw(paper)
    draw.text((120, 90), "Quarterly report", "#101010", _font(56))
    draw.line((120, 170, 1120, 170), "#101010", 3)
    top = 220
    while top < 1600:
        draw.text((120, top), _fitting(draw, rng, 1000, 28), "#202020", _font(28))
        top += 40 if rng.random() < 0.85 else 84
    return paper


def _fitting(draw: ImageDraw.ImageDraw, rng: random.Random, width: int, size: int) -> str:
    line = words(rng, 3)
    while draw.textlength(longer := f"{line} {words(rng, 1)}", _font(size)) < width:
        line = longer
    return line


def chat(rng: random.Random) -> Image.Image:
    """A phone's screen with a conversation: the same app, other messages."""
    screen = Image.new("RGB", (1080, 2160), "#ece5dd")
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 1080, 190), "#075e54")
    draw.circle((110, 120), 50, "#c8c8c8")
    draw.text((190, 90), words(rng, 2).title(), "#ffffff", _font(48))
    top = 230
    while top < 1900:
        lines, own = rng.randint(1, 4), rng.random() < 0.5
        width, tall = rng.randint(420, 760), 40 + 56 * lines
        left = 1040 - width if own else 40
        draw.rounded_rectangle((left, top, left + width, top + tall), 24, "#dcf8c6" if own else "#ffffff")
        for line in range(lines):
            draw.text((left + 28, top + 18 + 56 * line), _fitting(draw, rng, width - 260, 38), "#202020", _font(38))
        top += tall + 28
    draw.rounded_rectangle((30, 2010, 900, 2120), 54, "#ffffff")
    draw.circle((990, 2065), 54, "#128c7e")
    return screen


def code(rng: random.Random) -> Image.Image:
    """What looks like a QR code of version 6: the same finder and timing patterns, other modules."""
    modules = np.asarray([[rng.random() < 0.5 for _ in range(_MODULES)] for _ in range(_MODULES)])
    for row, column in ((0, 0), (0, _MODULES - 7), (_MODULES - 7, 0)):
        modules[max(0, row - 1) : row + 8, max(0, column - 1) : column + 8] = False
        modules[row : row + 7, column : column + 7] = True
        modules[row + 1 : row + 6, column + 1 : column + 6] = False
        modules[row + 2 : row + 5, column + 2 : column + 5] = True
    modules[6, 8:-8] = modules[8:-8, 6] = np.arange(_MODULES - 16) % 2 == 0
    return ImageOps.expand(
        Image.fromarray(np.logical_not(modules)).resize((_MODULES * 14,) * 2, Image.Resampling.NEAREST).convert("RGB"),
        56,
        "white",
    )


def form(rng: random.Random) -> Image.Image:
    """A printed form, filled in: the same fields for all, other entries."""
    paper, printed = Image.new("RGB", _PAGE, "#ffffff"), random.Random("form")
    draw = ImageDraw.Draw(paper)
    draw.text((120, 90), words(printed, 3).title(), "#101010", _font(48))
    for row in range(14):
        top = 220 + 100 * row
        draw.text((120, top), words(printed, 2).title(), "#404040", _font(24))
        draw.rectangle((420, top - 14, 1120, top + 54), None, "#202020", 2)
        draw.text((440, top), words(rng, rng.randint(1, 4)), "#1a2a8c", _font(32))
    return paper


def receipt(rng: random.Random) -> Image.Image:
    """A till's receipt: other goods and prices in the same columns."""
    paper = Image.new("RGB", (640, 1400), "#fbfbf8")
    draw = ImageDraw.Draw(paper)
    draw.text((320, 60), words(rng, 2).upper(), "#181818", _font(44), anchor="mm")
    for row in range(22):
        top = 140 + 52 * row
        draw.text((50, top), words(rng, 2), "#181818", _font(28))
        draw.text((590, top), f"{rng.uniform(0.5, 99):.2f}", "#181818", _font(28), anchor="ra")
    return paper


def other_side(rng: random.Random, side: int) -> Image.Image:
    """A room with a table of solids: what is lit, and where things stand before each other, depends on the side."""
    room = Image.new("RGB", (960, 720), "#cfc4b4")
    draw = ImageDraw.Draw(room)
    draw.rectangle((0, 470, 960, 720), "#8a6a4a")
    things = [(rng.uniform(-1, 1), rng.uniform(0.2, 1), rng.random(), rng.randrange(3)) for _ in range(14)]
    for across, depth, hue, kind in sorted(things, key=lambda thing: thing[1] * (1 if side == 0 else -1), reverse=True):
        near = depth if side == 0 else 1.2 - depth
        x = 480 + (across if side == 0 else -across) * 430 / (0.5 + near)
        y, size = 480 + 160 * (1 - near), 62 / (0.4 + near)
        colour = tuple(
            round(255 * level) for level in np.clip(np.abs((hue * 6 + np.asarray((0, 4, 2))) % 6 - 3) - 1, 0, 1)
        )
        shade = tuple(level // 2 for level in colour)
        if kind == 0:
            draw.ellipse((x - size, y - 2 * size, x + size, y), colour)
            draw.chord((x - size, y - 2 * size, x + size, y), 300 if side else 120, 120 if side else 300, shade)
        elif kind == 1:
            draw.rectangle((x - size, y - 2 * size, x + size, y), colour)
            draw.rectangle(
                (x - size if side else x + size / 3, y - 2 * size, x - size / 3 if side else x + size, y), shade
            )
        else:
            draw.polygon([(x - size, y), (x + size, y), (x, y - 2.4 * size)], colour)
            draw.polygon([(x + (size if side else -size), y), (x, y), (x, y - 2.4 * size)], shade)
    return room


NEGATIVES: Mapping[str, Callable[[random.Random], Image.Image]] = {
    "pages": page,
    "chats": chat,
    "codes": code,
    "forms": form,
    "receipts": receipt,
}
"""Kinds of pictures of which any two look alike."""
