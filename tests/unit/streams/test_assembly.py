"""Each handler is given the ports that it touches, and no others."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields
from itertools import chain
from pathlib import Path

import pytest

import streams
from streams import assembly

GIVEN = [
    given
    for name, given in vars(assembly).items()
    if inspect.isclass(given) and name.endswith("Ports") and given is not assembly.Ports
]
MODULES = [
    ast.parse(path.read_text()) for path in Path(streams.__path__[0]).rglob("*.py") if path != Path(assembly.__file__)
]


def _takers(given: str) -> Iterator[ast.AST]:
    """The functions that take these ports, and the classes that keep them."""
    for node in chain.from_iterable(map(ast.walk, MODULES)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            declared = [argument.annotation for argument in node.args.args]
        elif isinstance(node, ast.ClassDef):
            made = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
            declared = [part.annotation for part in node.body if isinstance(part, ast.AnnAssign)]
            declared += [argument.annotation for part in made for argument in part.args.args]
        else:
            continue
        if any(isinstance(annotation, ast.Name) and annotation.id == given for annotation in declared):
            yield node


def _touched(taker: ast.AST) -> set[str]:
    """The ports that it reads off ``ports``, ``self.ports`` or ``self._ports``."""
    return {
        node.attr
        for node in ast.walk(taker)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"ports", "self.ports", "self._ports"}
    }


@pytest.mark.parametrize("given", GIVEN)
def test_nothing_is_handed_out_that_is_not_touched(given: type) -> None:
    """Of what a room's handlers take, each port is touched by one of them."""
    touched = set().union(*map(_touched, _takers(given.__name__)))
    assert {port.name for port in fields(given)} - touched == set()
