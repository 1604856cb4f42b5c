"""What docs/operations.md shows to be typed in or copied."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Final

_OPERATIONS: Final = Path(__file__).parents[2] / "docs" / "operations.md"


def documented(section: str, beginning: str) -> str:
    """The commands that docs/operations.md shows in a section, as the block that begins so."""
    blocks = re.findall(r"(?:^    .*\n)+", _section(section), re.MULTILINE)
    fitting = [block for block in blocks if block.startswith(f"    {beginning}")]
    assert len(fitting) == 1, f"{len(fitting)} blocks of “{section}” begin with {beginning}"
    return textwrap.dedent(fitting[0])


def documented_yaml(section: str) -> str:
    """The file that docs/operations.md shows in a section."""
    found = re.search(r"^```yaml\n(.*?)^```", _section(section), re.MULTILINE | re.DOTALL)
    assert found, f"“{section}” shows no file"
    return found[1]


def _section(title: str) -> str:
    text = _OPERATIONS.read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/operations.md has no section “{title}”"
    return found[1]
