"""Model specs: the two that come along, and those of users."""

import re
from pathlib import Path

import pytest

from imaging.errors import ModelError
from imaging.model_spec import built_in_specs, load_spec

OWN = """
id: own
onnx: {path: weights/own.onnx}
pixels: {width: 128, height: 96, resize: crop}
input:
  name: x
  layout: NCHW
  dtype: float32
  normalisation: {mean: [0.4, 0.5, 0.6], std: [0.2, 0.2, 0.2]}
output: y
dimension: 64
copy_threshold: 55
source: a test
licence: none
"""


def written(folder: Path, text: str) -> Path:
    """A spec file with this text."""
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_specs_that_come_along() -> None:
    """`sscd` and `sscd_distilled` are there with their files, 512-d at 224 pixels."""
    assert built_in_specs() == ["sscd", "sscd_distilled"]
    for name in built_in_specs():
        spec = load_spec(name)
        assert spec.id == name
        assert spec.dimension == 512
        assert (spec.pixels.width, spec.pixels.height) == (224, 224)
        assert spec.onnx_path().is_file()
        assert 50 <= spec.copy_threshold <= 90


def test_a_users_own_spec(tmp_path: Path) -> None:
    """A spec file may lie anywhere, and its network beside it."""
    spec = load_spec(written(tmp_path, OWN))
    assert spec.id == "own"
    with pytest.raises(ModelError, match="no file"):
        spec.onnx_path()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "own.onnx").touch()
    assert spec.onnx_path() == tmp_path / "weights" / "own.onnx"


def test_the_name_follows_file_and_spec_and_nothing_else(tmp_path: Path) -> None:
    """Another network or another preprocessing is another name; a threshold or the folder's name is not."""

    def name(folder: str, network: bytes = b"network", old: str = "", new: str = "") -> str:
        (tmp_path / folder / "weights").mkdir(parents=True)
        (tmp_path / folder / "weights" / "own.onnx").write_bytes(network)
        return load_spec(written(tmp_path / folder, OWN.replace(old, new) if old else OWN)).name

    original = name("a")
    assert re.fullmatch("own@[0-9a-f]{12}", original)
    assert name("b") == original
    assert name("c", old="copy_threshold: 55", new="copy_threshold: 60") == original
    assert name("d", b"another") != original
    assert name("e", old="resize: crop", new="resize: squash") != original


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("resize: crop", "resize: crop, resize_size: 100", "resize_size"),
        ("resize: crop", "resize: squash, resize_size: 300", "resize_size"),
        ("dimension: 64", "dimension: many", "dimension"),
        ("dimension: 64", "dimensions: 64", "dimensions"),
        ("id: own", "id: No Spaces", "id"),
        ("layout: NCHW", "layout: CHWN", "layout"),
        ("dtype: float32", "dtype: uint8", "normalisation"),
        ("{path: weights/own.onnx}", "{}", "package or path"),
        ("{path: weights/own.onnx}", "{path: a.onnx, package: 'a:B'}", "package or path"),
        ("copy_threshold: 55", "copy_threshold: 101", "copy_threshold"),
        ("std: [0.2, 0.2, 0.2]", "std: [0.2, 0.2, 0]", "std"),
        (OWN, "- a list", "no mapping"),
        (OWN, "{", "own.yaml"),
    ],
)
def test_wrong_specs_name_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    """A spec with an unknown key or a senseless value is refused, naming it."""
    with pytest.raises(ModelError, match=message):
        load_spec(written(tmp_path, OWN.replace(old, new)))


def test_unknown_models() -> None:
    """An unknown id names those that there are; a missing file is named."""
    with pytest.raises(ModelError, match="sscd, sscd_distilled"):
        load_spec("resnet")
    with pytest.raises(ModelError, match=r"missing\.yaml"):
        load_spec("missing.yaml")


@pytest.mark.parametrize("package", ["no_such_package:MODEL", "imaging:MODEL", "json:JSONDecoder"])
def test_a_package_without_the_model(tmp_path: Path, package: str) -> None:
    """A package that isn't installed, or has no such path, is a clear error."""
    spec = load_spec(written(tmp_path, OWN.replace("path: weights/own.onnx", f"package: '{package}'")))
    with pytest.raises(ModelError, match=package):
        spec.onnx_path()
