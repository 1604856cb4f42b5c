"""Which picture is painted how, and saved as what."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ops.gallery import nature, pattern, scene, space
from ops.gallery.paint import PALETTES, Painter, Size

GENRES: Mapping[str, Painter] = {
    "mountains": nature.mountains,
    "stained-glass": pattern.stained_glass,
    "skyline": scene.skyline,
    "fractal": pattern.fractal,
    "poster": scene.poster,
    "planet": space.planet,
    "woven": pattern.woven,
    "still-life": scene.still_life,
    "spirograph": pattern.spirograph,
    "map": scene.chart,
    "tree": nature.tree,
    "marble": pattern.marble,
    "tiles": pattern.tiles,
    "sea": nature.sea,
    "mandala": pattern.mandala,
    "constellation": space.constellation,
    "brush": pattern.brush,
    "fields": scene.hills,
}
"""The kinds of pictures, in the order they are painted in."""

_SIZES: tuple[Size, ...] = (
    (840, 560),
    (560, 840),
    (700, 700),
    (960, 540),
    (600, 800),
    (800, 600),
)
_FLAT = frozenset({"poster", "tiles", "woven", "spirograph"})
_SAVE: Mapping[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 90},
    "webp": {"format": "WEBP", "quality": 88, "method": 2},
    "png": {"format": "PNG", "compress_level": 4},
}


def make_gallery(folder: Path, count: int = 120, seed: int = 0) -> list[Path]:
    """Paint `count` different pictures into the folder (made if it isn't there) and return their paths, in
    order.

    JPEG, PNG and WebP files in several sizes. The same count and seed give the same pictures on every
    machine with the same versions of Pillow and numpy; files that are there under the same names are
    overwritten. 120 take about ten seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda index: _make_one(folder, index, seed), range(count)))


def paint(index: int, seed: int) -> tuple[str, Image.Image]:
    """The picture with this number: its genre and itself."""
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    genre = list(GENRES)[index % len(GENRES)]
    # 18 palettes and 18 genres: a step that grows with each round shows every genre in other colours.
    palette = PALETTES[(index * 7 + index // len(GENRES) * 5 + seed) % len(PALETTES)]
    size = _SIZES[int(rng.integers(len(_SIZES)))]
    return genre, GENRES[genre](rng, size, palette)


def _make_one(folder: Path, index: int, seed: int) -> Path:
    genre, image = paint(index, seed)
    suffix = "png" if genre in _FLAT else ("webp" if index % 4 == 3 else "jpg")
    path = folder / f"{genre}-{index:03}.{suffix}"
    image.save(path, **_SAVE[suffix])
    return path
