"""The export of the predecessor's network beside iv2 itself, and the whole of Twinlens on it: `make proof-iv2`.

Needs the extra `iv2`, so it has an environment of its own and isn't among the tests of `make test`.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from iv2 import ResNet, preprocess
from PIL import Image
from typer.testing import CliRunner

from imaging.decoding import decode
from imaging.embedding import OnnxEmbedder, Vectors
from imaging.limits import DecodeLimits
from imaging.model_spec import ModelSpec, load_spec
from ops.cli import app
from ops.gallery import make_gallery
from ops.models.check import check
from tests.harness.up import Up, first_key
from tests.proof.weights import write_weights

PICTURES = 50
CLI = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds all that this file makes."""
    return tmp_path_factory.mktemp("iv2")


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    """A file of weights."""
    path = folder / "gl18.pth"
    write_weights(path)
    return path


@pytest.fixture(scope="module")
def files(folder: Path) -> list[Path]:
    """Painted pictures, the last of them as large as photographs are."""
    painted = make_gallery(folder / "photos", PICTURES)
    for path, size in zip(painted[-3:], [(4000, 3000), (3600, 900), (1700, 2550)], strict=True):
        with Image.open(path) as image:
            larger = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        larger.save(path, quality=90)
    return painted


@pytest.fixture(scope="module")
def exported(weights: Path, files: list[Path], folder: Path) -> tuple[Path, str]:
    """The folder of both exports, and what the command said."""
    out = folder / "models"
    command = ["models", "export-iv2", weights, "--out", out, "--int8", files[0].parent]
    result = CLI.invoke(app, [str(part) for part in command], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out, result.output


@pytest.fixture(scope="module")
def spec(exported: tuple[Path, str]) -> ModelSpec:
    """The export's spec."""
    return load_spec(exported[0] / "iv2.yaml")


@pytest.fixture(scope="module")
def predecessor(weights: Path) -> ResNet:
    """The predecessor's own engine, on one thread: more wait for each other where cores are shared."""
    torch.set_num_threads(1)
    return ResNet(runtime_model=weights, device="cpu")


def opened(path: Path) -> Image.Image:
    """A picture as the predecessor opened it."""
    return Image.open(path).convert("RGB")


def embedded(spec: ModelSpec, files: list[Path]) -> Vectors:
    """The vectors as the index worker makes them."""
    return OnnxEmbedder(spec, threads=1).embed(
        [decode(path.read_bytes(), DecodeLimits(), spec.pixels).pixels for path in files]
    )


def test_the_vectors_are_iv2s(spec: ModelSpec, predecessor: ResNet, files: list[Path]) -> None:
    """Each picture's vector is iv2's, by `gen_vector` and by `gen_vectors`, and nearer than to any other's."""
    ours = embedded(spec, files)
    one_by_one = np.array([predecessor.gen_vector(opened(path)) for path in files])
    at_once = np.array(predecessor.gen_vectors([opened(path) for path in files]))
    assert (ours * one_by_one).sum(axis=1).min() >= 0.9999
    assert (ours * at_once).sum(axis=1).min() >= 0.9999
    assert (ours @ one_by_one.T - np.eye(PICTURES)).max() < 0.999


def test_the_pixels_are_iv2s(spec: ModelSpec, files: list[Path]) -> None:
    """What the network is given is what iv2 gives it."""
    embedder = OnnxEmbedder(spec)
    for path in files:
        ours = embedder.tensor([decode(path.read_bytes(), DecodeLimits(), spec.pixels).pixels])[0]
        assert np.abs(ours - preprocess(opened(path)).numpy()).max() <= 1e-5


def test_quantising_says_what_it_costs(exported: tuple[Path, str], spec: ModelSpec, files: list[Path]) -> None:
    """The int8 network is a quarter of the size, and agrees as far as the command said."""
    out, said = exported
    quantised = load_spec(out / "iv2_int8.yaml")
    assert quantised.onnx_path().stat().st_size < 0.3 * spec.onnx_path().stat().st_size
    compared = sorted(files)[1::2]
    cosines = (embedded(spec, compared) * embedded(quantised, compared)).sum(axis=1)
    found = re.search(r"on (\d+) pictures .* cosine ([\d.]+) on average, ([\d.]+) at least; .* for ([\d.]+)%", said)
    assert found is not None, said
    assert int(found[1]) == len(compared)
    assert float(found[2]) == pytest.approx(cosines.mean(), abs=1e-3)
    assert float(found[3]) == pytest.approx(cosines.min(), abs=1e-3)
    assert float(found[2]) > 0.98


def test_the_export_passes_the_check(spec: ModelSpec) -> None:
    """It has 512 dimensions, vectors of length 1 from the network itself, and heeds no neighbours in a batch."""
    seen = check(spec, threads=1)
    assert (seen.dimension, seen.problems) == (512, [])
    assert seen.lengths == pytest.approx((1, 1), abs=1e-4)


@pytest.mark.parametrize("content", [b"no weights", None])
def test_other_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    """A file that isn't of PyTorch, and one that lacks weights, which iv2 would leave at random."""
    path = tmp_path / "wrong.pth"
    if content is None:
        torch.save({"state_dict": {"pool.p": torch.ones(1)}}, path)
    else:
        path.write_bytes(content)
    result = CLI.invoke(app, ["models", "export-iv2", str(path), "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert not list(tmp_path.glob("*.yaml"))


def test_put_search_and_delete_on_it(exported: tuple[Path, str], folder: Path) -> None:
    """The embedded stack on the export: a picture that is put is found by a copy, and is gone when it is deleted."""
    photos = folder / "few"
    make_gallery(photos, 8, seed=3)
    settings = {"TWINLENS_MODEL__SPEC": str(exported[0] / "iv2.yaml")}
    report = folder / "report.json"
    up = Up(folder / "data", "--photos", photos, "--objects", "folder", "--report", report, settings=settings)
    try:
        started = up.started(report)
        [new] = make_gallery(folder / "new", 1, seed=7)
        assert up.run("add", new, "--prefix", "mine/").returncode == 0
        key, copy = f"mine/{new.name}", new.read_bytes()
        up.until(lambda: first_key(started["api"], copy) == key)
        (Path(started["drop_into"]) / key).unlink()
        up.until(lambda: first_key(started["api"], copy) != key)
    finally:
        up.process.send_signal(signal.SIGTERM)
        up.ended()
