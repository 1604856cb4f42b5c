"""Decoding by format, beside bare Pillow: the same pictures, opened, reduced and resized to a model's input.

    python -m bench.decoding FOLDER [--pictures 8] [--rounds 4]

Twinlens checks each file before it is decoded, follows its profile, orientation and transparency, and decodes HEIC and
JPEG XL in processes of their own; that may cost a tenth. Both take turns, picture by picture, and the least of some
rounds counts for each.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pillow_heif
from PIL import Image, ImageOps
from pillow_jxl import JpegXLImagePlugin

from bench.bench import Bench
from bench.figures import Figure, Result
from bench.photographs import Photographs
from imaging.decoding import decode
from imaging.limits import DecodeLimits
from imaging.model_spec import PixelSpec

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JXL", "JPEG2000")
PICTURES, ROUNDS = 8, 4
_SIDE = 1200
_SPEC = PixelSpec(width=224, height=224)

pillow_heif.register_heif_opener()
# As ours, which decode many pictures at once rather than one by many threads.
pillow_heif.options.DECODE_THREADS = 1
JpegXLImagePlugin.DECODE_THREADS = 0


def measure(bench: Bench) -> Result:
    """How long each format takes, as a multiple of bare Pillow."""
    rounds = ROUNDS if bench.scale.pictures > PICTURES * len(FORMATS) else 1
    return Result("decoding", figures(bench.photographs, PICTURES if rounds > 1 else 2, rounds))


def figures(photographs: Photographs, pictures: int, rounds: int, formats: Sequence[str] = FORMATS) -> list[Figure]:
    """One for each format; its milliseconds are details."""
    sources = [_scaled(Image.open(photographs.file(number)).convert("RGB")) for number in range(pictures)]
    found: list[Figure] = []
    for kind in formats:
        files = [_saved(source, kind) for source in sources]
        ours, bare = _fastest(files, rounds)
        name = kind.lower()
        found.append(Figure(f"{name}_of_pillow", ours / bare, "×"))
        found.append(Figure("ours", 1000 * ours / pictures, "ms", ceiling=1000 * bare / pictures, of=name))
    return found


def _scaled(image: Image.Image) -> Image.Image:
    image.thumbnail((_SIDE, _SIDE))
    return image.resize((_SIDE, round(_SIDE * image.height / image.width)))


def _saved(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def _fastest(files: Sequence[bytes], rounds: int) -> tuple[float, float]:
    """Seconds for all files, ours and Pillow's, each file in its fastest round."""
    kinds: tuple[Callable[[bytes], object], ...] = (_ours, _bare)
    spent: list[list[list[float]]] = [[[] for _ in files] for _ in kinds]
    for _ in range(rounds + 1):
        for number, data in enumerate(files):
            for each, work in enumerate(kinds):
                begun = time.perf_counter()
                work(data)
                spent[each][number].append(time.perf_counter() - begun)
    # The first round warms up: libraries, and the processes that decode.
    ours, bare = (sum(min(times[1:]) for times in of) for of in spent)
    return ours, bare


def _ours(data: bytes) -> object:
    return decode(data, DecodeLimits(), _SPEC).pixels


def _bare(data: bytes) -> object:
    image = Image.open(io.BytesIO(data))
    image.draft(None, _SPEC.reduced_size)
    upright = ImageOps.exif_transpose(image).convert("RGB")
    return upright.resize((_SPEC.width, _SPEC.height), Image.Resampling.BILINEAR, reducing_gap=2)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    for kind in FORMATS:
        found, detail = figures(Photographs.of_folder(options.folder), options.pictures, options.rounds, [kind])
        told = f"{kind:10} {detail.value:7.2f} ms  Pillow {detail.ceiling:7.2f} ms  × {found.value:.2f}"
        print(told, flush=True)


if __name__ == "__main__":
    main()
