"""Planting a bug: some of the handlers' named functions are replaced while a run lasts.

Production code has no switches for this. A function that is not there any more, or takes other arguments by now, is an
error: never a run without the bug, nor one that fails for another reason.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

type Holder = ModuleType | type
type Function = Callable[..., Any]
type Replacements = Mapping[Function, Function]

PACKAGES = ("streams.", "schemas.")


@contextmanager
def planted(replacements: Replacements) -> Iterator[None]:
    """Have other functions called instead of these, wherever a module of the handlers, or a method's class, holds them.

    Raises LookupError for a function that no module holds, TypeError for a replacement with other parameters.
    """
    places = [(place, new) for old, new in replacements.items() for place in _places(old, new)]
    held = [(holder, name, vars(holder)[name]) for (holder, name), _ in places]
    for (holder, name), new in places:
        setattr(holder, name, new)
    try:
        yield
    finally:
        for holder, name, old in held:
            setattr(holder, name, old)


def _places(old: Function, new: Function) -> list[tuple[Holder, str]]:
    """Each module that holds the function, or the class whose method it is, and the name that it has there."""
    if _parameters(old) != _parameters(new):
        raise TypeError(f"{new.__name__} can't take the place of {old.__name__}: it has other parameters")
    of_class, _, name = old.__qualname__.rpartition(".")
    if of_class and "<locals>" not in of_class:
        return [(vars(sys.modules[old.__module__])[of_class], name)]
    modules: list[Holder] = [module for name, module in sorted(sys.modules.items()) if name.startswith(PACKAGES)]
    places = [(module, name) for module in modules for name, value in vars(module).items() if value is old]
    if (sys.modules[old.__module__], old.__name__) not in places:
        raise LookupError(f"{old.__module__} has no {old.__name__}, or another one by now")
    return places


def _parameters(function: Function) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]
