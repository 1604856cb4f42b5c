"""The handlers under test: those of production, or a copy of them with a bug planted in its source.

Production code has no switches for this. The modules' own text is changed and run under other names.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

COPIED = ("ports", "publish", "converge_object", "converge_content", "sweep")
"""Modules of ``streams`` in the order of their imports; a copy of one needs copies of those that import it."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """The modules whose functions a run calls."""

    ports: ModuleType
    publish: ModuleType
    converge_object: ModuleType
    converge_content: ModuleType
    sweep: ModuleType


def production() -> Handlers:
    """The handlers as they are."""
    return Handlers(*[import_module(f"streams.{name}") for name in COPIED])


def planted(bug: str, replacements: Mapping[str, tuple[str, str]]) -> Handlers:
    """Copies of the handlers in which, per module, one text took the place of another.

    Raises ValueError unless the text is there exactly once: a bug that can't be planted any more must be noticed.
    """
    package = f"tests.simulation.planted_{bug}"
    copies: list[ModuleType] = []
    for name in COPIED:
        source = inspect.getsource(import_module(f"streams.{name}"))
        if name in replacements:
            source = _replaced(source, *replacements[name], where=f"streams/{name}.py")
        for imported in COPIED:
            source = source.replace(f"from streams.{imported} import", f"from {package}_{imported} import")
        module = ModuleType(f"{package}_{name}")
        sys.modules[module.__name__] = module
        exec(compile(source, f"<{bug} in streams/{name}.py>", "exec"), module.__dict__)  # noqa: S102 - our own source
        copies.append(module)
    return Handlers(*copies)


def _replaced(source: str, old: str, new: str, *, where: str) -> str:
    if source.count(old) != 1:
        raise ValueError(f"{where} has this text {source.count(old)} times instead of once:\n{old}")
    return source.replace(old, new)
