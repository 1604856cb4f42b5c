"""Execution providers: what was asked for, or an error that says what to do."""

import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from imaging.embedding import OnnxEmbedder
from imaging.errors import ModelError
from imaging.model_spec import load_spec
from imaging.session import _check_loaded, available_providers, open_session

PATH = load_spec("sscd_distilled").onnx_path()


def refusal(*providers: str) -> str:
    """Why a network can't be loaded with these providers."""
    with pytest.raises(ModelError) as refused:
        open_session(PATH, threads=1, providers=providers)
    return str(refused.value)


def test_the_cpu_is_the_default() -> None:
    """Without a word about providers, a network is computed on the CPU."""
    assert OnnxEmbedder(load_spec("sscd_distilled"))._session.get_providers() == ["CPUExecutionProvider"]


def test_an_unknown_provider_is_refused() -> None:
    """A provider that ONNX Runtime doesn't know is refused with the names of those that it does."""
    text = refusal("gpu")
    assert "no provider gpu" in text
    assert {"cpu", "cuda", "openvino", "tensorrt"} <= set(text.replace(".", "").replace(",", "").split())


def test_the_long_name_is_no_name() -> None:
    """A provider has one name in the settings, which is not ONNX Runtime's."""
    assert "cuda" in refusal("CUDAExecutionProvider")


@pytest.mark.parametrize(
    ("provider", "package"),
    [("cuda", "twinlens[gpu]"), ("tensorrt", "twinlens[gpu]"), ("openvino", "onnxruntime-openvino")],
)
def test_a_provider_that_is_not_installed_is_refused(provider: str, package: str) -> None:
    """The error names the provider, those that there are, what to uninstall and what to install."""
    text = refusal(provider, "cpu")
    assert f"The provider {provider} is not in the installed ONNX Runtime" in text
    assert all(name in text for name in available_providers())
    assert f"`pip uninstall onnxruntime`, then `pip install '{package}'`" in text


def test_a_provider_without_a_package_is_refused() -> None:
    """A provider that no package of ours brings is refused with the word that another build is needed."""
    assert "install a build of ONNX Runtime that has it in place of onnxruntime" in refusal("coreml")


@pytest.mark.parametrize("providers", [(), ("cpu", "cpu")])
def test_providers_are_different_ones(providers: tuple[str, ...]) -> None:
    """No provider at all is refused, and so is one that is named twice."""
    assert "must be different ones" in refusal(*providers)


def test_a_provider_that_computes_nothing_is_refused() -> None:
    """A provider is refused that would leave all of the network to the CPU, whether the CPU is named or not."""
    assert "azure" in available_providers()
    assert "name cpu alone" in refusal("azure")
    assert "name cpu alone" in refusal("azure", "cpu")


def test_onnx_runtime_falls_back_in_silence() -> None:
    """The reason for all this: ONNX Runtime itself loads a network for an absent provider, and uses the CPU."""
    with pytest.warns(UserWarning, match="not in available provider names"):
        session = onnxruntime.InferenceSession(str(PATH), providers=["CUDAExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_provider_that_was_not_started_is_refused() -> None:
    """What ONNX Runtime has and could not start is an error that says so; nothing is said where all were."""
    with pytest.raises(ModelError, match=r"has the provider cuda and could not start it.* go on with cpu\."):
        _check_loaded(["cuda", "cpu"], ["cpu"])
    _check_loaded(["cuda", "cpu"], ["cuda", "cpu"])


def test_onnx_runtime_keeps_no_figures_of_its_use(tmp_path: Path) -> None:
    """There is no file in the user's folder, and no thread that would send one."""
    program = "import imaging.embedding, os; print(len(os.listdir('/proc/self/task')))"
    variables = {"HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
    assert run.stdout == "1\n"
    assert list(tmp_path.iterdir()) == []
