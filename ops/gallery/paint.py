"""What the painters share: palettes, colour ramps, noise, and drawing with smooth edges."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

type Rng = np.random.Generator
type Size = tuple[int, int]
type Colour = tuple[int, int, int]
type Palette = tuple[Colour, ...]
type Field = NDArray[np.float64]
"""One value for each pixel, [height, width]."""

type Painter = Callable[[Rng, Size, Palette], Image.Image]
"""Paints one picture of this size; the same generator state gives the same picture."""


def _palette(colours: str) -> Palette:
    return tuple((int(one[0:2], 16), int(one[2:4], 16), int(one[4:6], 16)) for one in colours.split())


PALETTES: tuple[Palette, ...] = tuple(
    _palette(colours)
    for colours in (
        "0b132b 1c2541 5bc0be f2c57c fdf0d5",  # night and lamplight
        "2d1e2f 6a3d5c c8553d f28f3b ffd5a1",  # dusk
        "0d3b3e 1f7a6d 7bc8a4 f4d58d f9f7e8",  # lagoon
        "3a0ca3 7209b7 f72585 ff9e6d ffe8d6",  # neon
        "1b2a1e 386641 6a994e a7c957 f2e8cf",  # meadow
        "22223b 4a4e69 9a8c98 c9ada7 f2e9e4",  # dust
        "003049 1f6e8c d62828 f77f00 fcbf49",  # poster
        "10002b 3c096c 7b2cbf c77dff ffe5ec",  # violet
        "081c15 1b4332 40916c 95d5b2 e9f5db",  # fern
        "2b2d42 5c677d 8d99ae ef476f edf2f4",  # steel and red
        "1a1423 684756 ab8476 d9b08c ffe9c7",  # sepia
        "012a4a 2a6f97 61a5c2 a9d6e5 fff3e0",  # ice
        "311847 8e3b46 e1a87a f0dba5 fffaf0",  # wine
        "132a13 31572c d4a017 e76f51 fefae0",  # autumn
        "0f0f1b 29335c db2b39 f3a712 e4dfda",  # bauhaus
        "271c19 5e3023 895737 c08552 f3e9dc",  # coffee
        "04151f 183a37 efd6ac c44900 f6f0e3",  # desert
        "1d1128 50409a a682ff 5cf2e3 f7fff6",  # aurora
    )
)
"""Five colours each, from the darkest to the lightest."""


def ramp(values: Field, colours: Sequence[Colour]) -> Image.Image:
    """The picture whose pixels run through these colours, evenly spaced, as the values run from 0 to 1."""
    steps = np.linspace(0, 1, 512)
    stops = np.linspace(0, 1, len(colours))
    table = np.stack(
        [np.interp(steps, stops, [one[channel] for one in colours]) for channel in range(3)],
        axis=1,
    )
    return Image.fromarray(table.astype(np.uint8)[(np.clip(values, 0, 1) * 511).astype(np.intp)])


def gradient(size: Size, colours: Sequence[Colour]) -> Image.Image:
    """From top to bottom through these colours."""
    return ramp(
        np.broadcast_to(np.linspace(0, 1, size[1])[:, None], (size[1], size[0])),
        colours,
    )


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """The colour this far (0 to 1) from one to the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def noise(rng: Rng, size: Size, cells: int, octaves: int = 4) -> Field:
    """Clouds between 0 and 1: value noise with `cells` waves across, each octave half as coarse and half as
    strong.
    """
    total = np.zeros((size[1], size[0]))
    for octave in range(octaves):
        across = cells * 2**octave + 1
        down = max(2, round(across * size[1] / size[0]))
        grid = Image.fromarray(rng.random((down, across)).astype(np.float32))
        total += np.asarray(grid.resize(size, Image.Resampling.BICUBIC)) / 2**octave
    spread = float(np.ptp(total)) or 1.0
    return (total - total.min()) / spread


def wander(rng: Rng, length: int, cells: int, octaves: int = 6) -> NDArray[np.float64]:
    """A line of hills between 0 and 1, `length` values long."""
    at, total = np.linspace(0, 1, length), np.zeros(length)
    for octave in range(octaves):
        knots = cells * 2**octave + 1
        total += np.interp(at, np.linspace(0, 1, knots), rng.random(knots)) / 2**octave
    return (total - total.min()) / (np.ptp(total) or 1.0)


def plane(size: Size) -> tuple[Field, Field]:
    """The x and y of each pixel, 0 in the middle, ±1 at the ends of the longer side."""
    half = max(size) / 2
    x = (np.arange(size[0]) + 0.5 - size[0] / 2) / half
    y = (np.arange(size[1]) + 0.5 - size[1] / 2) / half
    return np.broadcast_to(x, (size[1], size[0])), np.broadcast_to(y[:, None], (size[1], size[0]))


def smooth(
    size: Size,
    background: Image.Image | Colour,
    draw: Callable[[ImageDraw.ImageDraw, float], None],
) -> Image.Image:
    """Draw at twice the size and scale down, so that edges are smooth; `draw` gets the factor 2 to scale
    by.
    """
    doubled = (size[0] * 2, size[1] * 2)
    if isinstance(background, Image.Image):
        canvas = background.resize(doubled, Image.Resampling.BILINEAR)
    else:
        canvas = Image.new("RGB", doubled, background)
    draw(ImageDraw.Draw(canvas, "RGBA"), 2.0)
    return canvas.reduce(2)


def light(image: Image.Image, field: NDArray[np.floating[Any]], colour: Colour) -> Image.Image:
    """Add a light of this colour, as strong as the field says (0 to 1)."""
    pixels = np.asarray(image).astype(np.float32)
    glow = np.clip(field, 0, 1).astype(np.float32)[..., None]
    return Image.fromarray((pixels + (np.asarray(colour, np.float32) - pixels) * glow).astype(np.uint8))


def vignette(image: Image.Image, strength: float = 0.35) -> Image.Image:
    """Darken the corners a little."""
    x, y = plane(image.size)
    return light(image, strength * np.clip(x * x + y * y - 0.25, 0, 1), (0, 0, 0))
