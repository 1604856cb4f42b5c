"""What commands print. Keys, reasons and messages come from strangers; they cannot steer the terminal."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any, Final

import rich.markup
from rich.console import Console
from rich.text import Text

_STEERING: Final = "\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters, those that turn the direction of text, and halves of surrogate pairs; but for the line feed."""
_IN_LINE: Final = re.compile(f"[\n{_STEERING}]")
_IN_LINES: Final = re.compile(f"[{_STEERING}]")


def visible(text: object, *, lines: bool = False) -> str:
    """The text with what would steer a terminal in Python's escapes; ``lines`` keeps line feeds."""
    return (_IN_LINES if lines else _IN_LINE).sub(_escape, str(text))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def shown(text: object) -> str:
    """A stranger's text for a line in rich's markup."""
    return rich.markup.escape(visible(text))


def plain(text: object, style: str = "") -> Text:
    """A stranger's text, maybe of several lines, none of it markup."""
    return Text(visible(text, lines=True), style=style)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON as people read it: letters as themselves, what would steer a terminal in JSON's escapes."""
    return visible_json(json.dumps(value, indent=indent, ensure_ascii=False))


def visible_json(text: str) -> str:
    """The same JSON with what would steer a terminal in JSON's escapes."""
    return _IN_LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


_WIDE: Final = 10_000
"""Columns of what is piped: nothing is folded or cut for a screen that isn't there."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Left to who runs the command: rich would end the process with the exit code of "not found"."""
        raise BrokenPipeError


def stdout(*, soft_wrap: bool = False) -> Console:
    """Where answers go; as wide as it takes where that is no terminal."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE
    return _Console(highlight=False, soft_wrap=soft_wrap, width=width)


def stderr(*, soft_wrap: bool = False) -> Console:
    """Where everything else goes, so that answers can be piped."""
    return Console(stderr=True, highlight=False, soft_wrap=soft_wrap)
