"""The pictures that Twinlens paints itself, and their copies."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imaging.decoding import decode
from imaging.embedding import OnnxEmbedder, Vectors
from imaging.limits import DecodeLimits
from imaging.model_spec import load_spec
from ops.copies import TRANSFORMS
from ops.gallery import GENRES, make_gallery

LIMITS = DecodeLimits()
COUNT = 36


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two rounds through the genres."""
    return make_gallery(tmp_path_factory.mktemp("gallery"), COUNT)


@pytest.fixture(scope="module")
def embedder() -> OnnxEmbedder:
    """The fast model, which tells pictures apart a little less well than the default."""
    return OnnxEmbedder(load_spec("sscd_distilled"), 2)


def vectors(embedder: OnnxEmbedder, files: list[bytes]) -> Vectors:
    """The files' vectors."""
    return embedder.embed([decode(data, LIMITS, embedder.pixel_spec).pixels for data in files])


@pytest.mark.slow
def test_it_is_varied(gallery: list[Path]) -> None:
    """Every genre appears, in JPEG, PNG and WebP, in several sizes, and no file is there twice."""
    assert len(gallery) == COUNT
    assert {path.name.rpartition("-")[0] for path in gallery} == set(GENRES)
    assert {path.suffix for path in gallery} == {".jpg", ".png", ".webp"}
    assert len({path.read_bytes() for path in gallery}) == COUNT
    sizes = set()
    for path in gallery:
        with Image.open(path) as image:
            sizes.add(image.size)
    assert len(sizes) >= 5


@pytest.mark.slow
def test_a_seed_repeats_a_gallery(gallery: list[Path], tmp_path: Path) -> None:
    """The same seed paints the same files again, however many, and another seed others."""
    again, other = make_gallery(tmp_path / "again", 9), make_gallery(tmp_path / "other", 9, seed=6)
    for first, second, third in zip(gallery, again, other, strict=False):
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()
        assert first.read_bytes() != third.read_bytes()


@pytest.mark.slow
def test_copies_find_their_originals(gallery: list[Path], embedder: OnnxEmbedder) -> None:
    """At least 98 % of the transformed copies are nearest to the picture they were made from."""
    files = [path.read_bytes() for path in gallery]
    originals = vectors(embedder, files)
    found = 0
    for transform in TRANSFORMS.values():
        copies = vectors(embedder, [transform(data) for data in files])
        found += int(((copies @ originals.T).argmax(axis=1) == np.arange(COUNT)).sum())
    assert found / (COUNT * len(TRANSFORMS)) >= 0.98


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("jpeg-10", (200, 100)),
        ("half-size", (100, 50)),
        ("mirrored", (200, 100)),
        ("crop-70", (140, 70)),
        ("grey", (200, 100)),
        ("captioned", (200, 100)),
    ],
)
def test_transforms(name: str, size: tuple[int, int]) -> None:
    """Each transform gives a JPEG of its size, always the same one, different from a plain copy."""
    ramp = np.linspace(0, 255, 200)[None, :, None] * np.ones((100, 1, 3)) * (0.4, 0.7, 1)
    out = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).save(out, "PNG")
    copy = TRANSFORMS[name](out.getvalue())
    assert copy == TRANSFORMS[name](out.getvalue())
    image = decode(copy, LIMITS, load_spec("sscd").pixels)
    assert ((image.width, image.height), image.format) == (size, "jpeg")


def test_transforms_take_every_kind_of_picture() -> None:
    """Transparent, turned, grey and tiny pictures are transformed as well."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, kind, size in (("RGBA", "PNG", (90, 60)), ("L", "JPEG", (90, 60)), ("RGB", "WEBP", (1, 1))):
        out = io.BytesIO()
        Image.new(mode, size).save(out, kind, exif=exif)
        for transform in TRANSFORMS.values():
            assert transform(out.getvalue()).startswith(b"\xff\xd8")
