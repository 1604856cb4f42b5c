"""Hints that name a command can be copied from the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ops.hints import hint, working


@pytest.mark.parametrize(
    ("started", "program"),
    [
        (".venv/bin/twinlens", ".venv/bin/twinlens"),
        ("{here}/a b/twinlens", "'a b/twinlens'"),
        ("/elsewhere/twinlens", "/elsewhere/twinlens"),
        ("{here}/ops/cli.py", f"{sys.executable} -m ops.cli"),
        ("on-path/twinlens", "twinlens"),
    ],
)
def test_the_program_is_named_as_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: str, program: str
) -> None:
    """By its path within the folder, or by its name alone where a shell finds it."""
    monkeypatch.chdir(tmp_path)
    found = tmp_path / "on-path" / "twinlens"
    found.parent.mkdir()
    found.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(found.parent))
    monkeypatch.setattr(sys, "argv", [started.format(here=tmp_path)])
    assert hint("status") == f"{program} status"


def test_another_data_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what goes by the settings alone."""
    monkeypatch.setattr(sys, "argv", ["pytest"])
    assert hint("search FILE", Path(".twinlens")) == "twinlens search FILE"
    assert hint("search FILE", Path("my data")) == "twinlens search FILE --data 'my data'"
    assert working("run `twinlens setup`, or `twinlens reconcile --force`", Path("d")) == (
        "run `twinlens setup`, or `twinlens reconcile --force --data d`"
    )
