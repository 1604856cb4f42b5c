"""Planets and stars."""

import numpy as np
from PIL import Image, ImageDraw

from ops.gallery.paint import (
    Palette,
    Rng,
    Size,
    light,
    mix,
    noise,
    plane,
    ramp,
    smooth,
)


def planet(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """A banded planet with a ring or a moon among the stars."""
    x, y = plane(size)
    image = ramp(noise(rng, size, 3) * 0.3, ((6, 6, 14), palette[0], palette[1]))
    image = light(
        image,
        (rng.random((size[1], size[0])) > 0.9985).astype(np.float64) * 0.9,
        (255, 255, 255),
    )
    centre_x, centre_y, radius = (
        rng.uniform(-0.25, 0.25),
        rng.uniform(-0.12, 0.12),
        rng.uniform(0.3, 0.45),
    )
    tilt = rng.uniform(-0.6, 0.6)
    u, v = (x - centre_x) / radius, (y - centre_y) / radius
    along, across = (
        u * np.cos(tilt) + v * np.sin(tilt),
        v * np.cos(tilt) - u * np.sin(tilt),
    )
    inside = np.hypot(u, v)
    bands = 0.5 + 0.5 * np.sin(across * rng.uniform(7, 16) + 2.5 * noise(rng, size, 4))
    surface = np.asarray(ramp(bands * 0.75 + 0.25 * noise(rng, size, 12), palette[1:])).astype(np.float64)
    depth = np.sqrt(np.clip(1 - inside**2, 0, 1))
    day = np.clip(0.12 + 1.05 * (depth * 0.55 - u * 0.6 - v * 0.45), 0.04, 1.1)
    globe = np.clip(surface * day[..., None], 0, 255)
    edge = np.clip((1 - inside) * radius * max(size) / 2, 0, 1)[..., None]
    pixels = np.asarray(image) * (1 - edge) + globe * edge
    image = Image.fromarray(pixels.astype(np.uint8))
    image = light(image, 0.35 * np.exp(-np.clip(inside - 1, 0, 9) * 9) * (inside > 1), palette[3])
    ring = np.hypot(along, across * 4.5)
    shown = (ring > 1.35) & (ring < 2.0) & ((across > 0) | (inside > 1))
    stripes = np.where(shown, 0.4 + 0.4 * np.sin(ring * 38), 0.0)
    return light(image, stripes, palette[4]) if rng.random() < 0.7 else image


def constellation(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """A chart of stars with lines between them, before a nebula."""
    width, height = size
    sky = ramp(noise(rng, size, 2, 6) ** 1.6, ((5, 7, 18), palette[0], palette[1], palette[2]))
    sky = light(sky, (rng.random((height, width)) > 0.998) * 0.8, (255, 255, 255))
    count = int(rng.integers(9, 15))
    stars = np.stack(
        [rng.uniform(0.1, 0.9, count) * width, rng.uniform(0.1, 0.9, count) * height],
        axis=1,
    )

    def chart(draw: ImageDraw.ImageDraw, scale: float) -> None:
        for ring in range(1, 5):
            draw.circle(
                (width * scale / 2, height * scale / 2),
                ring * height * 0.16 * scale,
                outline=(*palette[3], 50),
                width=2,
            )
        joined = [0]
        while len(joined) < count:
            gaps = np.linalg.norm(stars[:, None] - stars[joined], axis=2)
            gaps[joined] = np.inf
            new, old = np.unravel_index(int(gaps.argmin()), gaps.shape)
            draw.line(
                [tuple(stars[new] * scale), tuple(stars[joined[old]] * scale)],
                fill=(*palette[4], 150),
                width=3,
            )
            joined.append(int(new))
        for x, y in stars * scale:
            radius = rng.uniform(2.5, 7) * scale
            draw.circle((x, y), radius * 2.2, fill=(*palette[3], 50))
            draw.circle((x, y), radius, fill=mix(palette[4], (255, 255, 255), 0.6))

    return smooth(size, sky, chart)
