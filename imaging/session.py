"""A network loaded into ONNX Runtime, on the execution providers that were asked for and on nothing else.

Left alone, ONNX Runtime takes the CPU where a provider can't be loaded, can't compute any of the network or fails
half-way, and tells nobody but the terminal. Whoever asked for a GPU wants to be told.
"""

import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from imaging.cores import allowed_cores
from imaging.errors import ModelError

CPU = "cpu"

RUNTIME_ERRORS = (
    runtime.EPFail,
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.InvalidProtobuf,
    runtime.NoModel,
    runtime.NoSuchFile,
    runtime.NotImplemented,
    runtime.RuntimeException,
)
"""What ONNX Runtime raises; they have no base class of their own."""

_SUFFIX = "ExecutionProvider"

_PACKAGES = {"cuda": "twinlens[gpu]", "tensorrt": "twinlens[gpu]", "openvino": "onnxruntime-openvino"}
"""What to install for a provider; each brings an ONNX Runtime of its own."""

_NVIDIA = ("cuda", "tensorrt")

_PER_SESSION = {"openvino": "num_of_threads"}
"""Providers that have threads of their own, and the option that says how many."""


def open_session(path: Path, *, threads: int, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    """Load a network; each run computes on `threads` cores of the CPU (0: on all that the process may use).

    `providers` are short names (`cpu`, `cuda`, …) in order of preference: a part of the network goes to the first
    that can compute it, and to the CPU only where that is named. Raises `ModelError` if one of them is not installed
    or can't be loaded, or if the network can't be loaded or computed as asked.
    """
    names = _full_names(providers)
    if set(_NVIDIA) & set(providers):
        # The libraries of NVIDIA's Python packages lie where the dynamic loader doesn't look.
        onnxruntime.preload_dlls()
    try:
        session = onnxruntime.InferenceSession(
            str(path),
            _options(threads),
            providers=[
                (name, {_PER_SESSION[short]: str(threads)} if short in _PER_SESSION and threads else {})
                for short, name in zip(providers, names, strict=True)
            ],
            enable_fallback=0,
        )
    except (*RUNTIME_ERRORS, RuntimeError, ValueError) as error:
        raise ModelError(f"{path} can't be loaded with the providers {_listed(providers)}: {error}") from error
    _check_loaded(providers, [_short(name) for name in session.get_providers()])
    _check_used(providers, {_short(part.ep_name) for part in session.get_provider_graph_assignment_info()})
    return session


def available_providers() -> list[str]:
    """The short names of the providers in the installed ONNX Runtime."""
    return sorted(_short(name) for name in onnxruntime.get_available_providers())


def _short(name: str) -> str:
    return name.removesuffix(_SUFFIX).lower()


def _full_names(providers: Sequence[str]) -> list[str]:
    known = {_short(name): name for name in onnxruntime.get_all_providers()}
    for provider in providers:
        if provider not in known:
            raise ModelError(f"There is no provider {provider}; ONNX Runtime knows {_listed(sorted(known))}.")
        if provider not in available_providers():
            raise ModelError(_not_installed(provider))
    if not providers or len(set(providers)) < len(providers):
        raise ModelError(f"The providers must be different ones, at least one, not {_listed(providers)}.")
    return [known[provider] for provider in providers]


def _not_installed(provider: str) -> str:
    builds = _installed_builds()
    text = f"The provider {provider} is not in the installed ONNX Runtime, which has {_listed(available_providers())}"
    if len(builds) > 1:
        return f"{text}: {' and '.join(builds)} overwrite each other; `pip uninstall` both, then install one."
    if provider in _PACKAGES:
        return f"{text}: `pip uninstall {' '.join(builds)}`, then `pip install '{_PACKAGES[provider]}'`."
    return f"{text}: install a build of ONNX Runtime that has it in place of {_listed(builds)}."


def _installed_builds() -> list[str]:
    """The packages that hold the module `onnxruntime`: there should be one."""
    return sorted(set(metadata.packages_distributions().get("onnxruntime", [])))


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _fewer_than_there_are()
    options.inter_op_num_threads = 1
    # Idle threads sleep, for decoding needs the cores as well.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.log_severity_level = 3
    return options


def _fewer_than_there_are() -> int:
    """The cores that the process may use, where they aren't all; else 0, and ONNX Runtime takes one thread a core."""
    allowed = allowed_cores()
    return allowed if allowed < (os.cpu_count() or 1) else 0


def _check_loaded(wanted: Sequence[str], loaded: Sequence[str]) -> None:
    missing = [provider for provider in wanted if provider not in loaded]
    if missing:
        raise ModelError(
            f"ONNX Runtime has the provider {_listed(missing)} and could not start it, for want of a driver, a library "
            f"or a device; what it printed says which. It would go on with {_listed(loaded)}."
        )


def _check_used(wanted: Sequence[str], used: set[str]) -> None:
    if wanted[0] != CPU and used == {CPU}:
        raise ModelError(f"Of the providers {_listed(wanted)}, only the CPU can compute this network; name cpu alone.")
    if not used <= set(wanted):
        raise ModelError(
            f"The providers {_listed(wanted)} can't compute all of the network; name cpu as the last of them to leave "
            "what remains to the CPU."
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
