"""Salted pictures, the null model, and the ceiling."""

from __future__ import annotations

import io
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from bench import ceiling
from bench.null_model import CLASS, NullEmbedder, put_in_place
from bench.photographs import Photographs, salted
from imaging.decoding import decode
from imaging.embedding import OnnxEmbedder
from imaging.histogram import HistogramEmbedder
from imaging.limits import DecodeLimits
from imaging.model_spec import load_spec
from schemas.settings import Settings

SPEC = load_spec("sscd")


def _picture(seed: int, kind: str = "PNG") -> bytes:
    rng = np.random.default_rng(seed)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_salt_changes_the_bytes_and_not_the_pixels(kind: str) -> None:
    """A salted picture is a new one to the catalog, and decodes to what it was."""
    plain = _picture(1, kind)
    new = salted(plain, "salt")
    before, after = (decode(data, DecodeLimits(), SPEC.pixels) for data in (plain, new))
    assert new != plain
    assert np.array_equal(before.pixels, after.pixels)


def test_no_two_pictures_of_a_run_have_the_same_bytes(tmp_path: Path) -> None:
    """Neither where the files come round again, nor in another series, nor in another run."""
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(_picture(number))
    runs = [Photographs.of_folder(tmp_path) for _ in range(2)]
    found = {run.salted(series, number) for run in runs for series in ("a", "b") for number in range(4)}
    assert len(found) == 16


def test_the_same_number_of_a_series_has_the_same_bytes_again(tmp_path: Path) -> None:
    """So that copies of what was put can be made without keeping it."""
    (tmp_path / "one.png").write_bytes(_picture(1))
    photographs = Photographs.of_folder(tmp_path)
    assert photographs.salted("stock", 5) == photographs.salted("stock", 5)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    """A run without pictures would measure nothing, and is told so before servers start."""
    (tmp_path / "README.md").write_text("no picture")
    with pytest.raises(ValueError, match="holds no pictures"):
        Photographs.of_folder(tmp_path)


def test_the_null_model_tells_pictures_apart_by_their_pixels_alone() -> None:
    """Its vectors have length 1, are the same for the same pixels in whatever batch, and far apart for others."""
    embedder = NullEmbedder(SPEC, 0.0)
    pixels = [np.full((SPEC.pixels.height, SPEC.pixels.width, 3), shade, np.uint8) for shade in (1, 2)]
    together = embedder.embed(pixels)
    assert together.shape == (2, SPEC.dimension)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx([1.0, 1.0])
    assert np.array_equal(embedder.embed(pixels[1:])[0], together[1])
    assert abs(together[0] @ together[1]) < 0.3


def test_the_null_model_takes_its_time_for_each_picture() -> None:
    """Two pictures take twice as long as one, asleep: an accelerator's time is not the processor's."""
    pixels = [np.zeros((SPEC.pixels.height, SPEC.pixels.width, 3), np.uint8)] * 2
    began, cpu = time.perf_counter(), time.process_time()
    NullEmbedder(SPEC, 100.0).embed(pixels)
    assert time.perf_counter() - began >= 0.2
    assert time.process_time() - cpu < 0.1


def test_the_null_model_is_put_where_the_embedder_is_made() -> None:
    """A composition root calls it as it calls the real one."""
    root = ModuleType("root")
    vars(root)[CLASS] = OnnxEmbedder
    put_in_place([root], 2.0)
    assert isinstance(vars(root)[CLASS](SPEC, threads=2), NullEmbedder)


def test_a_root_that_names_its_embedder_otherwise_is_no_silent_success() -> None:
    """A run that would measure the real model under the null model's name ends at its start."""
    with pytest.raises(AttributeError, match="root makes its embedder by another name"):
        put_in_place([ModuleType("root")], 2.0)


def test_the_ceiling_decodes_and_embeds_round_and_round() -> None:
    """Whole batches of the index worker's size, more of them than there are pictures if there is time."""
    settings = Settings()
    found = ceiling.measure([_picture(1), _picture(2)], HistogramEmbedder(), settings, seconds=0.2)
    assert found.pictures >= settings.index.batch_size
    assert found.pictures % settings.index.batch_size == 0
    assert found.per_second > 0
    assert found.cpu_ms > 0
