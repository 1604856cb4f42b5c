"""The trees at the top of schemas/errors.py and imaging/errors.py are those of the code."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

import imaging.errors
import schemas.errors


def drawn(module: ModuleType) -> dict[str, str | None]:
    """Each class of the drawing with the one that it hangs from."""
    found: dict[str, str | None] = {}
    above: list[str] = []
    for line in (module.__doc__ or "").splitlines():
        branch = re.match(r"([│├└─ ]*)([A-Z]\w+)(?=\s{2,}|$)", line)
        if branch is None or (found and not branch[1]):
            continue
        depth = len(branch[1]) // 4
        above[depth:] = [branch[2]]
        found[branch[2]] = above[depth - 1] if depth else None
    return found


@pytest.mark.parametrize("module", [schemas.errors, imaging.errors])
def test_the_tree_is_drawn_as_it_is(module: ModuleType) -> None:
    """Every class is drawn, each below its base, and none that isn't there."""
    tree = drawn(module)
    classes = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    own = {name for name, value in classes.items() if value.__module__ == module.__name__}
    assert own <= set(tree)
    assert set(tree) - own <= {"ModelError"}
    for name, base in tree.items():
        kind = vars(module).get(name) or vars(imaging.errors)[name]
        if base is not None:
            assert base in [above.__name__ for above in kind.__bases__], name
