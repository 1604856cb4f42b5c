"""Cities, tables, maps and posters."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ops.gallery.paint import (
    Palette,
    Rng,
    Size,
    gradient,
    light,
    mix,
    noise,
    plane,
    ramp,
    smooth,
    vignette,
)

_WORDS = (
    "FORM", "LICHT", "ECHO", "NORD", "SOLO", "TEMPO", "ATLAS", "VELO", "RADIO", "KINO",
    "OPERA", "DELTA", "MONO", "FUGUE", "PRISM", "ORBIT", "TANGO", "LUNA", "CARGO", "SALON",
)  # fmt: skip


def skyline(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """A city in the evening, and the same in the water before it."""
    width, height = size
    shore = int(height * 0.78)
    sky = gradient((width, shore), (palette[0], palette[1], palette[2], palette[3]))
    moon = (width * rng.uniform(0.1, 0.9), shore * rng.uniform(0.12, 0.3))

    def build(draw: ImageDraw.ImageDraw, scale: float) -> None:
        draw.circle((moon[0] * scale, moon[1] * scale), shore * 0.07 * scale, fill=palette[4])
        for row in range(3):
            colour = mix(palette[2], (8, 8, 16), 0.45 + 0.25 * row)
            x = -rng.uniform(0, 30)
            while x < width:
                wide = rng.uniform(0.04, 0.1) * width
                tall = shore * (rng.beta(2, 3) * (0.75 - 0.13 * row) + 0.12)
                box = (x * scale, (shore - tall) * scale, (x + wide) * scale, shore * scale)
                _tower(draw, rng, box, (colour, *palette[3:]), lit=row > 0)
                x += wide * rng.uniform(0.85, 1.25)

    city = smooth((width, shore), sky, build)
    image = Image.new("RGB", size)
    image.paste(city, (0, 0))
    mirror = (
        city.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((width, shore // 2)).crop((0, 0, width, height - shore))
    )
    ripples = np.asarray(mirror)
    shift = (4 * np.sin(np.arange(height - shore) * rng.uniform(0.6, 1.2))).astype(np.intp)
    columns = np.clip(np.arange(width)[None, :] + shift[:, None], 0, width - 1)
    water = Image.fromarray(ripples[np.arange(height - shore)[:, None], columns])
    image.paste(Image.blend(water, Image.new("RGB", water.size, palette[0]), 0.35), (0, shore))
    return image


def _tower(
    draw: ImageDraw.ImageDraw, rng: Rng, box: tuple[float, float, float, float], palette: Palette, *, lit: bool
) -> None:
    colour, *lamps = palette
    left, top, right, bottom = box
    draw.rectangle(box, fill=colour)
    if rng.random() < 0.3:
        middle = (left + right) / 2
        draw.polygon(
            [(left, top), (right, top), (middle, top - (right - left) * 0.6)],
            fill=colour,
        )
    if not lit:
        return
    cell = 13.0
    for y in np.arange(top + 10, bottom - 8, cell * 1.3):
        for x in np.arange(left + 7, right - 9, cell):
            if rng.random() < 0.42:
                lamp = mix(lamps[0], lamps[1], rng.random())
                draw.rectangle((x, y, x + 6, y + 9), fill=(*lamp, int(rng.integers(120, 255))))


def still_life(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """Fruit and vessels on a table, lit from the left."""
    width, height = size
    table = 0.62
    wall = light(
        gradient(size, (palette[1], mix(palette[1], palette[2], 0.7))),
        0.4 * noise(rng, size, 4),
        palette[0],
    )
    pixels = np.asarray(wall).astype(np.float64)
    rows, columns = (
        np.arange(height)[:, None] / height,
        np.arange(width)[None, :] / width,
    )
    cloth = np.asarray(mix(palette[4], palette[3], 0.3)) * (1.05 - 0.5 * np.clip(rows - table, 0, 1))[..., None]
    pixels = np.where(
        (rows > table)[..., None],
        cloth + 8 * np.sin(columns * 60 + rows * 25)[..., None],
        pixels,
    )
    ratio = width / height
    things = int(rng.integers(4, 7))
    for place in rng.permutation(things):
        x = (place + rng.uniform(0.35, 0.65)) / things
        foot = table + rng.uniform(0.06, 0.24)
        colour = np.asarray(palette[int(rng.integers(1, 5))], np.float64) * rng.uniform(0.8, 1.1)
        radius = rng.uniform(0.09, 0.13)
        tall = rng.uniform(2.2, 3.6) if rng.random() < 0.45 else 1.0
        middle = foot - radius * tall
        v = (rows - middle) / (radius * tall)
        waist = 1 - 0.55 * np.exp(-((v + 0.75) ** 2) * 9) if tall > 1 else np.ones_like(v)
        u = (columns - x) * ratio / (radius * waist)
        far = u**2 + (v**8 if tall > 1 else v**2)
        shadow = np.exp(-(((columns - x - 0.05) * ratio / radius) ** 2 + ((rows - foot) / (radius * 0.3)) ** 2) * 0.9)
        pixels *= (1 - 0.55 * shadow * (rows > table - 0.02))[..., None]
        day = np.clip(
            0.35 + 0.75 * np.sqrt(np.clip(1 - far, 0, 1)) - 0.4 * u - 0.15 * np.clip(v, -1, 1),
            0.12,
            1.3,
        )
        gloss = np.exp(-(((u + 0.4) * 3.2) ** 2 + ((v + 0.4) * 2.6) ** 2)) * 150
        body = colour * day[..., None] + gloss[..., None]
        edge = np.clip((1 - far) * radius * height / 2.5, 0, 1)[..., None]
        pixels = pixels * (1 - edge) + body * edge
    return vignette(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))


def chart(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """A map with coasts, contour lines, a grid and a route."""
    width, height = size
    land = noise(rng, size, 3, 6)
    shore = float(np.quantile(land, rng.uniform(0.35, 0.6)))
    deep, shallow = mix(palette[1], palette[2], 0.3), mix(palette[2], palette[4], 0.55)
    sea = np.asarray(ramp(land / shore, (deep, mix(deep, shallow, 0.6), shallow)))
    hills = np.asarray(
        ramp(
            (land - shore) / (1 - shore),
            (palette[4], palette[3], mix(palette[3], palette[0], 0.6)),
        )
    )
    image = Image.fromarray(np.where((land > shore)[..., None], hills, sea))
    steps = land * 18
    lines = (np.floor(steps) != np.floor(np.roll(steps, 1, axis=0))) | (
        np.floor(steps) != np.floor(np.roll(steps, 1, axis=1))
    )
    image = light(image, 0.35 * lines, palette[0])
    coast = (land > shore) != (np.roll(land, 2, axis=0) > shore)
    image = light(image, 0.8 * coast, palette[0])
    stops = rng.uniform(0.12, 0.88, (6, 2)) * (width, height)
    stops = stops[np.argsort(stops[:, 0])]

    def print_over(draw: ImageDraw.ImageDraw, scale: float) -> None:
        for step in range(1, 8):
            across, down = width * scale * step / 8, height * scale * step / 8
            draw.line((across, 0, across, height * scale), fill=(*palette[0], 60), width=2)
            draw.line((0, down, width * scale, down), fill=(*palette[0], 60), width=2)
        points = [(x * scale, y * scale) for x, y in stops.tolist()]
        draw.line(points, fill=(200, 30, 40), width=6, joint="curve")
        font = ImageFont.load_default(20 * scale)
        for number, point in enumerate(points):
            draw.circle(point, 6 * scale, fill="white", outline=(200, 30, 40), width=5)
            draw.text(
                (point[0] + 9 * scale, point[1]),
                _WORDS[int(rng.integers(20))].title(),
                palette[0],
                font,
                anchor="lm",
            )
            draw.text(
                (point[0], point[1]),
                str(number + 1),
                palette[0],
                ImageFont.load_default(8 * scale),
                anchor="mm",
            )
        frame = (6 * scale, 6 * scale, (width - 6) * scale, (height - 6) * scale)
        draw.rectangle(frame, outline=palette[0], width=round(4 * scale))

    return smooth(size, image, print_over)


def poster(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """A concert poster: one word, large, and what circles and bars can do."""
    width, height = size
    ground, ink, *accents = (palette[int(i)] for i in rng.permutation(5))
    word = _WORDS[int(rng.integers(len(_WORDS)))]

    def design(draw: ImageDraw.ImageDraw, scale: float) -> None:
        w, h = width * scale, height * scale
        if rng.random() < 0.5:
            x, y = rng.uniform(0.2, 0.8) * w, rng.uniform(0.2, 0.55) * h
            for ring in range(int(rng.integers(4, 11)), 0, -1):
                draw.circle(
                    (x, y),
                    ring * min(w, h) * 0.06,
                    fill=(ground, *accents, ink)[ring % 5],
                )
        else:
            bars, lean = int(rng.integers(5, 12)), rng.uniform(-0.3, 0.3)
            for bar in range(bars):
                x, wide = w * bar / bars, w / bars * rng.uniform(0.3, 0.95)
                top, bottom = rng.uniform(0.02, 0.3) * h, rng.uniform(0.4, 0.68) * h
                shape = [
                    (x, top),
                    (x + wide, top),
                    (x + wide + lean * h * 0.3, bottom),
                    (x + lean * h * 0.3, bottom),
                ]
                draw.polygon(shape, fill=accents[bar % 3])
        font = ImageFont.load_default(100 * scale)
        fitted = 100 * scale * w * 0.88 / draw.textlength(word, font)
        draw.text(
            (w * 0.06, h * 0.83),
            word,
            ink,
            ImageFont.load_default(min(fitted, h * 0.26)),
            anchor="ls",
        )
        draw.rectangle((w * 0.06, h * 0.865, w * 0.94, h * 0.872), fill=ink)
        small = ImageFont.load_default(min(w, h) * 0.035)
        line = f"{int(rng.integers(1, 29))}.{int(rng.integers(1, 13))}.{int(rng.integers(1950, 1990))}"
        draw.text(
            (w * 0.06, h * 0.92),
            f"{_WORDS[int(rng.integers(20))].title()} Festival",
            ink,
            small,
            anchor="lm",
        )
        draw.text((w * 0.94, h * 0.92), line, ink, small, anchor="rm")

    return smooth(size, ground, design)


def hills(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """Fields seen from a plane: strips of crops along the hills, cut by lanes."""
    x, y = plane(size)
    turn = rng.uniform(0, np.pi)
    bend = noise(rng, size, 2, 3)
    field = np.floor((x * np.cos(turn) + y * np.sin(turn)) * 3.5 + 1.6 * bend + 9)
    plot = np.floor((y * np.cos(turn) - x * np.sin(turn)) * 2.5 + 1.2 * noise(rng, size, 2, 2) + 9)
    kinds = rng.integers(0, 5, (40, 40))[field.astype(np.intp) % 40, plot.astype(np.intp) % 40]
    angles = rng.uniform(0, np.pi, (40, 40))[field.astype(np.intp) % 40, plot.astype(np.intp) % 40]
    rows = np.sin((x * np.cos(angles) + y * np.sin(angles)) * 130)
    crops = np.asarray(palette, np.float64)[kinds] * (0.9 + 0.1 * rows)[..., None]
    lanes = (field != np.roll(field, 3, axis=0)) | (plot != np.roll(plot, 3, axis=1))
    image = light(Image.fromarray(crops.astype(np.uint8)), 0.8 * lanes, palette[4])
    return light(image, 0.3 * noise(rng, size, 5), palette[0])
