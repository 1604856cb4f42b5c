"""What strangers write can't steer the terminal of an operator."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ops
from ops.commands.common import complained
from ops.terminal import json_text, plain, shown, stdout, visible
from schemas.errors import TwinlensError
from schemas.exit_codes import ExitCode

HOSTILE = "a\x1b]0;title\x07\x9b2J\u202egpj.\u2028\n[bold]x"
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]")
LOGS = """
import logging, sys, structlog
from ops.logs import configure_logging
from schemas.settings import LogSettings

_, style, hostile = sys.argv
configure_logging(LogSettings(format=style))
structlog.get_logger("test").warning("refused", key=hostile)
logging.getLogger("library").warning("no topic %s", hostile)
try:
    raise ValueError(hostile)
except ValueError:
    structlog.get_logger("test").exception("failed")
"""


def test_letters_stay_as_they_are() -> None:
    """Other scripts, and emoji that are made of several, are no danger."""
    text = "Zoë/写真/👨\u200d👩\u200d👧.jpg"
    assert visible(text) == text
    assert json.loads(json_text({"key": text}, indent=2)) == {"key": text}
    assert text in json_text({"key": text})


def test_what_steers_is_escaped() -> None:
    """Escape sequences of both kinds, turned text, halves of surrogate pairs; and line feeds where a line is shown."""
    assert visible("\x1b[2J\x9b\u202e\ud800\n") == r"\x1b[2J\x9b\u202e\ud800\n"
    assert visible("one\ntwo\r", lines=True) == "one\ntwo\\r"


def test_json_says_the_same_with_escapes() -> None:
    """A program reads the very text; a terminal is not steered."""
    text = json_text({"key": HOSTILE}, indent=1)
    assert json.loads(text) == {"key": HOSTILE}
    assert not STEERING.search(text)


def test_a_console_shows_escapes_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """In lines of markup, and as text of several lines."""
    stdout().print(f"[dim]{shown(HOSTILE)}[/]", soft_wrap=True)
    stdout().print(plain(HOSTILE), soft_wrap=True)
    complained("error", TwinlensError(HOSTILE), ExitCode.ERROR)
    out, err = capsys.readouterr()
    for text in (out, err):
        assert not STEERING.search(text)
        assert "[bold]x" in text
        assert r"\x1b]0;title\x07\x9b2J\u202egpj.\u2028" in text
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize("style", ["json", "console"])
def test_logs_show_escapes(style: str) -> None:
    """In values, in libraries' messages and in the texts of errors."""
    done = subprocess.run([sys.executable, "-c", LOGS, style, HOSTILE], capture_output=True, check=True)
    said = done.stderr.decode()
    assert said.count("title") == 3
    assert not STEERING.search(said)


def test_commands_print_by_the_terminal_module_alone() -> None:
    """Rich's own console and escape, and JSON with raw text, let control characters through."""
    folder = Path(ops.__file__).parent
    by_hand = re.compile(r"rich\.markup|\bConsole\(|json\.dumps\(.*ensure_ascii=False")
    found = {
        str(file.relative_to(folder))
        for file in folder.rglob("*.py")
        if file.name != "terminal.py" and by_hand.search(file.read_text(encoding="utf-8"))
    }
    assert found <= {"embedded/report.py"}, "report.py writes a file"
