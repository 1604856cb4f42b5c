"""Hints that name a command, so that it can be copied from the terminal and works there."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

DATA: Final = Path(".twinlens")
"""The usual folder of an embedded stack; hints name another."""
_HINT: Final = re.compile(r"`twinlens (?P<command>[a-z-]+)(?P<rest>[^`]*)`")
_WITHOUT_DATA: Final = frozenset({"setup", "worker", "api"})
"""What goes by the settings alone."""


def hint(words: str, data: Path | None = None) -> str:
    """The command line of ``twinlens WORDS`` here, with ``--data`` where the folder is not the usual one."""
    named = data is not None and data != DATA and words.split(maxsplit=1)[0] not in _WITHOUT_DATA
    return f"{_program()} {words}" + (f" --data {_quoted(data)}" if named else "")


def working(text: str, data: Path | None = None) -> str:
    """The text with each `` `twinlens …` `` as it works here."""
    return _HINT.sub(lambda found: f"`{hint(found['command'] + found['rest'], data)}`", text)


def _program() -> str:
    """How this process was started, in words that a shell takes."""
    started = Path(sys.argv[0])
    if started.name == "cli.py":
        return f"{shlex.quote(sys.executable)} -m ops.cli"
    if started.name != "twinlens":
        return "twinlens"
    found = shutil.which("twinlens")
    if found is not None and Path(found).resolve() == started.resolve():
        return "twinlens"
    here = Path.cwd()
    absolute = started.absolute()
    return _quoted(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def _quoted(path: Path | None) -> str:
    return shlex.quote(str(path))
