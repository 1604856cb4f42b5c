"""`twinlens models`: what it says of a model. The export of the predecessor's is held by tests/proof/iv2.py."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from imaging.model_spec import OnnxFile, load_spec, write_spec
from ops.cli import app
from ops.models.check import Checked


def run(*arguments: str) -> Result:
    """`twinlens models` with arguments."""
    return CliRunner().invoke(app, ["models", *arguments])


def test_list_names_the_models_that_come_along() -> None:
    """Each with its dimension and threshold; the one that the settings name is marked."""
    said = run("list")
    assert said.exit_code == 0, said.output
    assert "sscd (in use)" in said.output
    assert "sscd_distilled" in said.output


def test_show_prints_a_spec_that_can_be_used(tmp_path: Path) -> None:
    """What is shown is the spec, with the network's path in full."""
    said = run("show", "sscd_distilled")
    path = tmp_path / "shown.yaml"
    path.write_text(said.output, encoding="utf-8")
    shown, known = load_spec(path), load_spec("sscd_distilled")
    assert shown.onnx_path() == known.onnx_path()
    assert shown.model_copy(update={"onnx": known.onnx}) == known


@pytest.mark.slow
def test_check_runs_a_model() -> None:
    """Dimension, norm, speed, batch invariance and memory are told of a good model, and no problem."""
    said = run("check", "sscd_distilled")
    assert said.exit_code == 0, said.output
    assert "512" in said.output
    for what in ("norm", "ms a picture", "batch invariance", "MiB"):
        assert what in said.output


def test_a_model_that_is_not_there_is_a_matter_of_configuration(tmp_path: Path) -> None:
    """`show` and `check` say so."""
    for command in ("show", "check"):
        assert run(command, str(tmp_path / "none.yaml")).exit_code == 2


GOOD = Checked(
    dimension=512, lengths=(1, 1), milliseconds=9, batch_cosine=1, closest_pair=0.8, file_mib=9, memory_mib=9
)


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (replace(GOOD, batch_cosine=0.999), "depends on what else is in its batch"),
        (replace(GOOD, closest_pair=1.0), "the same vector"),
    ],
)
def test_what_makes_a_model_useless_is_said(seen: Checked, problem: str) -> None:
    """A vector that depends on its neighbours, or is the same for different pictures."""
    assert GOOD.problems == []
    [said] = seen.problems
    assert problem in said


def test_a_spec_is_written_beside_its_network(tmp_path: Path) -> None:
    """It names the network by a relative path, so that both can be moved, and reads as it was."""
    network = tmp_path / "own.onnx"
    network.touch()
    spec = load_spec("sscd").model_copy(update={"id": "own", "onnx": OnnxFile(path=network)})
    path = write_spec(spec)
    assert path == tmp_path / "own.yaml"
    assert yaml.safe_load(path.read_text())["onnx"] == {"path": "own.onnx"}
    assert load_spec(path) == spec


def test_exporting_without_pytorch_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The default installation has neither PyTorch nor iv2."""
    monkeypatch.setitem(sys.modules, "ops.models.iv2", None)
    said = run("export-iv2", str(tmp_path / "weights.pth"))
    assert said.exit_code == 2
    assert "twinlens[iv2]" in said.output
