"""Mountains, seas and trees."""

import numpy as np
from PIL import Image, ImageDraw

from ops.gallery.paint import (
    Colour,
    Palette,
    Rng,
    Size,
    gradient,
    light,
    mix,
    noise,
    plane,
    smooth,
    vignette,
    wander,
)


def mountains(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """Ridges behind ridges in the haze, under a sun or a moon."""
    width, height = size
    sky = gradient(size, (palette[1], palette[2], palette[3], palette[4]))
    x, y = plane(size)
    sun_x, sun_y = rng.uniform(-0.6, 0.6), rng.uniform(-0.35, 0.0)
    distance = np.hypot(x - sun_x, y - sun_y)
    sky = light(sky, 0.75 * np.exp(-distance * 5), palette[4])
    sky = light(sky, np.clip((rng.uniform(0.05, 0.14) - distance) * 150, 0, 1), palette[4])
    sky = light(sky, 0.35 * np.clip(noise(rng, size, 3) * 2 - 1, 0, 1) * (y < 0.1), palette[4])
    pixels = np.asarray(sky).copy()
    rows = np.arange(height)[:, None]
    ridges, crest = int(rng.integers(3, 8)), rng.uniform(0.28, 0.5)
    for ridge in range(ridges):
        near = (ridge + 1) / ridges
        rise = wander(rng, width, int(rng.integers(1, 4)) + 2 * ridge, int(rng.integers(3, 7)))
        top = height * (crest + (0.94 - crest) * near * near) - rise * height * rng.uniform(0.1, 0.4) * (
            1.15 - 0.4 * near
        )
        colour = np.asarray(mix(mix(palette[3], palette[2], near), palette[0], near**1.2), np.float64)
        haze = np.asarray(
            mix(mix(palette[3], palette[2], near), palette[3], 0.5 * (1 - near)),
            np.float64,
        )
        start = max(0, int(top.min()))
        depth = np.clip((rows[start:] - top) / (height * 0.4), 0, 1).astype(np.float32)[..., None]
        shaded = (colour + (haze - colour) * depth * 0.7).astype(np.uint8)
        pixels[start:] = np.where((rows[start:] > top)[..., None], shaded, pixels[start:])
    if rng.random() < 0.45:
        shore = int(height * rng.uniform(0.62, 0.8))
        lake = pixels[shore - (height - shore) : shore][::-1] * 0.75 + np.asarray(palette[1]) * 0.25
        pixels[shore:] = lake + 7 * np.sin(rows[shore:] * 0.9)[..., None]
    return vignette(_firs(rng, Image.fromarray(pixels), mix(palette[0], (0, 0, 0), 0.4)))


def _firs(rng: Rng, image: Image.Image, colour: Colour) -> Image.Image:
    width, height = image.size
    draw = ImageDraw.Draw(image)
    middle, wide = rng.uniform(0, width), rng.uniform(0.15, 0.6) * width
    for x in rng.normal(middle, wide, int(rng.integers(0, 40))):
        foot, tall = height * rng.uniform(0.95, 1.08), height * rng.uniform(0.08, 0.34)
        for tier in range(6):
            top, half = foot - tall * (1 - tier * 0.14), tall * (0.05 + 0.033 * tier)
            draw.polygon([(x, top), (x - half, top + tall * 0.24), (x + half, top + tall * 0.24)], fill=colour)
    return image


def sea(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """Rolling waves with foam on their crests, islands behind them and perhaps a sail."""
    width, height = size
    order = palette if rng.random() < 0.7 else palette[::-1]
    white = mix(order[4], (255, 255, 255), 0.45)
    horizon = rng.uniform(0.25, 0.62)
    sky = gradient(size, (order[4], order[3], order[2]))
    sky = light(
        sky,
        0.5 * np.clip(noise(rng, size, int(rng.integers(2, 5))) * 2 - 0.9, 0, 1),
        white,
    )

    def waves(draw: ImageDraw.ImageDraw, scale: float) -> None:
        w, h = width * scale, height * scale
        sun = (w * rng.uniform(0.1, 0.9), h * horizon * rng.uniform(0.25, 1.0))
        draw.circle(sun, min(w, h) * rng.uniform(0.05, 0.2), fill=white)
        for _ in range(int(rng.integers(0, 4))):
            left, wide = rng.uniform(-0.1, 0.9) * w, rng.uniform(0.15, 0.6) * w
            peaks = h * (horizon - wander(rng, 60, 2) * np.sin(np.linspace(0, np.pi, 60)) * rng.uniform(0.08, 0.26))
            island = [(left + wide * step / 59, peak) for step, peak in enumerate(peaks)]
            draw.polygon(
                [*island, (left + wide, h), (left, h)],
                fill=mix(order[2], order[1], rng.uniform(0.2, 1)),
            )
        across = np.linspace(0, w, 200)
        count, stretch = int(rng.integers(5, 15)), rng.uniform(0.12, 0.6)
        steep, tilt = rng.uniform(0.03, 0.14), rng.uniform(-0.08, 0.08)
        sails = set(rng.integers(0, max(1, count - 2), int(rng.integers(0, 4))).tolist())
        for wave in range(count):
            near = (wave + 1) / count
            base = h * (horizon + (1.02 - horizon) * near**1.4) + (across - w / 2) * tilt * near
            swell = np.sin(across / (w * (0.08 + stretch * near)) * 2 * np.pi + rng.uniform(0, 7))
            crest = base - h * steep * near * (1 - np.abs(swell)) ** 2 * 2
            if wave in sails:
                _sail(
                    draw,
                    (rng.uniform(0.15, 0.85) * w, h * horizon + h * 0.1 * near),
                    h * (0.06 + 0.2 * near),
                    order,
                )
            line = list(zip(across.tolist(), crest.tolist(), strict=True))
            draw.polygon([*line, (w, h), (0, h)], fill=mix(order[2], order[0], near))
            draw.line(line, fill=(*white, 220), width=max(2, round(5 * near * scale)))

    return smooth(size, sky, waves)


def _sail(draw: ImageDraw.ImageDraw, at: tuple[float, float], tall: float, palette: Palette) -> None:
    x, y = at
    draw.polygon([(x, y), (x, y - tall), (x + tall * 0.5, y)], fill=palette[4])
    draw.polygon(
        [(x - tall * 0.05, y), (x - tall * 0.05, y - tall * 0.8), (x - tall * 0.35, y)],
        fill=palette[3],
    )
    hull = [
        (x - tall * 0.5, y + tall * 0.05),
        (x + tall * 0.6, y + tall * 0.05),
        (x + tall * 0.35, y + tall * 0.3),
    ]
    draw.polygon([*hull, (x - tall * 0.3, y + tall * 0.3)], fill=palette[0])


def tree(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """A tree, or a few, that branch by themselves, with their leaves, on a hill."""
    width, height = size
    night = rng.random() < 0.35
    sky = gradient(
        size,
        (palette[0], palette[1], palette[2]) if night else (palette[4], palette[3]),
    )
    sky = light(
        sky,
        0.45 * np.clip(noise(rng, size, int(rng.integers(2, 5))) * 2.2 - 1, 0, 1),
        palette[4],
    )
    ground, bark = (palette[0], (12, 10, 14)) if night else (palette[1], palette[0])
    count = int(rng.choice([1, 1, 2, 3, 5]))
    slope, rise = rng.uniform(-0.2, 0.2), wander(rng, 60, 2, 3) * rng.uniform(0.02, 0.2)

    def grow(draw: ImageDraw.ImageDraw, scale: float) -> None:
        w, h = width * scale, height * scale
        sun = (w * rng.uniform(0.05, 0.95), h * rng.uniform(0.08, 0.6))
        draw.circle(sun, min(w, h) * rng.uniform(0.05, 0.22), fill=(*palette[4], 235))
        steps = np.linspace(0, 1, 60)
        hill = h * (0.9 + slope * (steps - 0.5) - rise)
        draw.polygon(
            [*zip((steps * w).tolist(), hill.tolist(), strict=True), (w, h), (0, h)],
            fill=ground,
        )
        for place in rng.permutation(count):
            x = (place + rng.uniform(0.2, 0.8)) / count
            foot = float(np.interp(x, steps, hill)) + h * 0.01
            tall = h * rng.uniform(0.13, 0.2) / count**0.35
            _branches(draw, rng, (x * w, foot), tall, (bark, *palette[2:]))

    return vignette(smooth(size, sky, grow), 0.25)


def _branches(draw: ImageDraw.ImageDraw, rng: Rng, foot: tuple[float, float], tall: float, palette: Palette) -> None:
    bark, *greens = palette
    lean, spread, uneven = (
        rng.uniform(-0.3, 0.3),
        rng.uniform(0.22, 0.75),
        rng.uniform(0, 0.3),
    )
    foliage, leaf_size = rng.uniform(0, 1), rng.uniform(0.012, 0.05) * tall
    stack = [(*foot, -np.pi / 2 + lean * 0.5, tall, 8)]
    tips: list[tuple[float, float]] = []
    while stack:
        x, y, angle, length, depth = stack.pop()
        end_x, end_y = x + length * np.cos(angle), y + length * np.sin(angle)
        draw.line((x, y, end_x, end_y), fill=bark, width=max(1, round(length * 0.13)))
        if depth <= 3:
            tips.append((end_x, end_y))
        for side in (-1, 1) if depth else ():
            turn = side * spread * rng.uniform(0.6, 1.2) + lean * 0.3
            shorter = rng.uniform(0.66, 0.82) - uneven * (side > 0)
            stack.append((end_x, end_y, angle + turn, length * shorter, depth - 1))
    for x, y in tips:
        if rng.random() < foliage:
            leaf = mix(greens[int(rng.integers(len(greens)))], greens[0], rng.random() * 0.5)
            at = (x + rng.normal(0, leaf_size), y + rng.normal(0, leaf_size))
            draw.circle(at, leaf_size * rng.uniform(0.7, 3), fill=(*leaf, 200))
