"""Fractals, glass, cloth, curves and tiles."""

import numpy as np
from PIL import Image, ImageDraw

from ops.gallery.paint import (
    Colour,
    Palette,
    Rng,
    Size,
    light,
    mix,
    noise,
    plane,
    ramp,
    smooth,
    vignette,
)

_JULIA = (
    -0.8 + 0.156j,
    0.285 + 0.01j,
    -0.4 + 0.6j,
    -0.70176 - 0.3842j,
    0.355 + 0.355j,
    -0.54 + 0.54j,
    -0.12 - 0.77j,
)


def fractal(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """A Julia set, coloured by how fast each point escapes."""
    x, y = plane(size)
    turn, zoom = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 1.35)
    z = ((x + 1j * y) * zoom * np.exp(1j * turn)).astype(np.complex64)
    c = np.complex64(_JULIA[int(rng.integers(len(_JULIA)))] + rng.normal(0, 0.008) + 1j * rng.normal(0, 0.008))
    escaped = np.full(z.shape, 90.0, np.float32)
    flat, left = z.ravel(), np.arange(z.size)
    for step in range(90):
        flat = flat * flat + c
        size_squared = flat.real**2 + flat.imag**2
        out = size_squared > 64
        if out.any():
            smooth_step = step + 1 - np.log2(np.log2(size_squared[out]) / 2)
            escaped.ravel()[left[out]] = smooth_step
            flat, left = flat[~out], left[~out]
    values = np.clip(escaped / 90, 0, 1) ** 0.5
    return ramp(
        values.astype(np.float64),
        (palette[0], palette[1], palette[2], palette[4], palette[3], palette[0]),
    )


def stained_glass(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """Panes of glass in lead, with a light behind them."""
    x, y = plane(size)
    count = int(rng.integers(35, 80))
    sites = rng.uniform(-1, 1, (count, 2))
    nearest = np.full(x.shape, np.inf, np.float32)
    second, pane = nearest.copy(), np.zeros(x.shape, np.uint8)
    for index, (site_x, site_y) in enumerate(sites):
        across, down = (
            (x[:1] - site_x).astype(np.float32),
            (y[:, :1] - site_y).astype(np.float32),
        )
        distance = across * across + down * down
        np.minimum(second, np.maximum(nearest, distance), out=second)
        pane[distance < nearest] = index
        np.minimum(nearest, distance, out=nearest)
    nearest, second = np.sqrt(nearest), np.sqrt(second)
    strong = np.asarray([palette[int(i)] for i in rng.integers(1, 5, count)], np.float64)
    strong = np.clip(strong * rng.uniform(0.75, 1.15, (count, 1)), 0, 255)
    glass = Image.fromarray(strong[pane].astype(np.uint8))
    glow = np.exp(-4 * ((x - rng.uniform(-0.4, 0.4)) ** 2 + (y - rng.uniform(-0.4, 0.4)) ** 2))
    glass = light(glass, 0.45 * glow * (0.6 + 0.4 * noise(rng, size, 20, 3)), (255, 250, 230))
    return light(
        glass,
        np.clip((0.016 - (second - nearest)) * 160, 0, 1).astype(np.float64),
        (20, 18, 22),
    )


def marble(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """Liquid colours, drawn through one another."""
    x, y = plane(size)
    warp_x, warp_y = noise(rng, size, 2), noise(rng, size, 2)
    u = x * rng.uniform(1, 3) + 2.5 * warp_x
    v = y * rng.uniform(1, 3) + 2.5 * warp_y
    veins = np.sin(5 * u + 3 * np.sin(3 * v)) + np.sin(4 * v + 2 * np.sin(4 * u))
    return ramp(0.5 + 0.25 * veins, (palette[0], palette[2], palette[4], palette[3], palette[1]))


def spirograph(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """Hypotrochoids, one over the other."""
    width, height = size
    dark = rng.random() < 0.6
    ground = palette[0] if dark else palette[4]
    inks = palette[2:] if dark else palette[:4]

    def curves(draw: ImageDraw.ImageDraw, scale: float) -> None:
        reach = min(width, height) * 0.46 * scale
        for ink in inks:
            teeth, ring = int(rng.integers(7, 47)), int(rng.integers(48, 106))
            ratio, pen = teeth / ring, rng.uniform(0.5, 1.2)
            turns = teeth // int(np.gcd(teeth, ring))
            angle = np.linspace(0, 2 * np.pi * turns, min(6000, 240 * turns))
            spin = angle * (1 - ratio) / ratio
            radius = reach * rng.uniform(0.6, 1.0) / (1 - ratio + ratio * pen)
            x = width * scale / 2 + radius * ((1 - ratio) * np.cos(angle) + ratio * pen * np.cos(spin))
            y = height * scale / 2 + radius * ((1 - ratio) * np.sin(angle) - ratio * pen * np.sin(spin))
            draw.line(
                list(zip(x.tolist(), y.tolist(), strict=True)),
                fill=(*ink, 210),
                width=round(1.5 * scale),
            )

    return vignette(smooth(size, ground, curves), 0.3)


def woven(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """A tartan in twill."""
    width, height = size
    threads: list[Colour] = []
    for _ in range(int(rng.integers(5, 9))):
        threads += [palette[int(rng.integers(5))]] * int(rng.integers(1, 9))
    sett = np.asarray(threads + threads[::-1], np.float64)
    pitch = int(rng.integers(5, 9))
    warp = sett[(np.arange(width) // pitch) % len(sett)]
    weft = sett[(np.arange(height) // pitch) % len(sett)]
    over = ((np.arange(width)[None, :] // pitch + np.arange(height)[:, None] // pitch) % 4) < 2
    cloth = np.where(over[..., None], warp[None, :, :], weft[:, None, :])
    round_thread = np.sin((np.arange(width) % pitch + 0.5) / pitch * np.pi)[None, :]
    round_weft = np.sin((np.arange(height) % pitch + 0.5) / pitch * np.pi)[:, None]
    shade = 0.72 + 0.28 * np.where(over, round_thread, round_weft)
    return vignette(Image.fromarray((cloth * shade[..., None]).astype(np.uint8)), 0.4)


def mandala(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """Petals around petals."""
    width, height = size
    petals = int(rng.integers(6, 17))
    ground = palette[int(rng.choice([0, 4]))]

    def flower(draw: ImageDraw.ImageDraw, scale: float) -> None:
        middle = np.asarray([width, height]) * scale / 2
        for ring in range(9, 0, -1):
            reach = min(width, height) * 0.055 * ring * scale
            fat, offset = rng.uniform(0.35, 0.9), rng.choice([0.0, 0.5])
            fill, outline = palette[int(rng.integers(5))], palette[int(rng.integers(5))]
            t = np.linspace(0, 2 * np.pi, 40)
            for petal in range(petals):
                angle = 2 * np.pi * (petal + offset) / petals
                along = reach * (0.62 + 0.38 * np.cos(t))
                side = reach * fat * 2 / petals * 1.6 * np.sin(t) * (1.1 - 0.5 * np.cos(t))
                x = middle[0] + along * np.cos(angle) - side * np.sin(angle)
                y = middle[1] + along * np.sin(angle) + side * np.cos(angle)
                shape = list(zip(x.tolist(), y.tolist(), strict=True))
                draw.polygon(shape, fill=(*fill, 215), outline=outline, width=round(1.5 * scale))
        draw.circle(tuple(middle), min(width, height) * 0.035 * scale, fill=palette[3])

    return smooth(size, ground, flower)


def tiles(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """Quarter circles, discs and triangles in a grid."""
    width, height = size
    side = int(rng.choice([80, 96, 120, 160]))
    spots = np.argwhere(np.ones((-(-height // side), -(-width // side))))

    def lay(draw: ImageDraw.ImageDraw, scale: float) -> None:
        edge = side * scale
        for row, column in spots.tolist():
            x, y = column * edge, row * edge
            ground, figure = (palette[int(i)] for i in rng.choice(5, 2, replace=False))
            draw.rectangle((x, y, x + edge, y + edge), fill=ground)
            kind, corner = int(rng.integers(5)), int(rng.integers(4))
            at = (x + edge * (corner % 2), y + edge * (corner // 2))
            if kind < 2:
                box = (at[0] - edge, at[1] - edge, at[0] + edge, at[1] + edge)
                start = (0, 90, 270, 180)[corner]
                draw.pieslice(box, start, start + 90, fill=figure)
                if kind:
                    inner = tuple(at[i % 2] + (-1 if i < 2 else 1) * edge / 2 for i in range(4))
                    draw.pieslice(inner, start, start + 90, fill=ground)
            elif kind == 2:
                draw.circle((x + edge / 2, y + edge / 2), edge * 0.36, fill=figure)
            elif kind == 3:
                draw.polygon([(x, y), (x + edge, y), at, (x, y + edge)], fill=figure)
            else:
                for stripe in range(4):
                    draw.rectangle(
                        (
                            x,
                            y + edge * stripe / 4,
                            x + edge,
                            y + edge * (stripe + 0.5) / 4,
                        ),
                        fill=figure,
                    )

    return smooth(size, palette[0], lay)


def brush(rng: Rng, size: Size, palette: Palette) -> Image.Image:
    """Brush strokes along a wind that nobody sees."""
    width, height = size
    wind = noise(rng, size, 2, 3) * rng.uniform(4, 9)
    ground = mix(palette[0], palette[1], 0.4)

    def strokes(draw: ImageDraw.ImageDraw, scale: float) -> None:
        starts = rng.uniform(0, 1, (900, 2)) * (width, height)
        shades = rng.integers(0, 5, 900)
        for start, shade in zip(starts, shades, strict=True):
            x, y = start
            path = []
            for _ in range(14):
                path.append((x * scale, y * scale))
                angle = wind[int(np.clip(y, 0, height - 1)), int(np.clip(x, 0, width - 1))]
                x, y = x + 9 * np.cos(angle), y + 9 * np.sin(angle)
            colour = mix(palette[int(shade)], palette[int(rng.integers(5))], 0.25)
            draw.line(path, fill=(*colour, 225), width=int(rng.integers(4, 12)), joint="curve")

    return smooth(size, ground, strokes)
