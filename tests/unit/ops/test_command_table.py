"""Every command, on a machine where nothing runs: what it says, how it ends, and what it leaves behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from ops.cli import app
from schemas.settings import PREFIX
from tests.harness.commands import PICTURE, TABLE, Row, documented_answers, undocumented
from tests.harness.pictures import picture

HEAVY = {"sqlalchemy", "pymilvus", "onnxruntime", "cv2", "faust", "fastapi", "numpy", "aiokafka", "httpx"}
HELP = """
import sys
from ops.cli import app
for words in sys.argv[1].split(","):
    try:
        app([*words.split(), "--help"], standalone_mode=False)
    except SystemExit:
        pass
print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
NOWHERE = {
    "TWINLENS_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "TWINLENS_OBJECTS__ENDPOINT": "127.0.0.1:1",
    "TWINLENS_VECTORS__URI": "http://127.0.0.1:1",
    "TWINLENS_API__PORT": "1",
}
ALIVE = {name: row for name, row in TABLE.items() if row.needs or not row.changes}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and settings by which no server answers."""
    for variable in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(variable)
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name: str, arguments: tuple[str, ...]) -> Result:
    """The command, with a picture where one is wanted."""
    words = ["a.png" if word == PICTURE else word for word in arguments]
    return CliRunner().invoke(app, [*name.split(), *words])


def commands_of(group: typer.core.TyperGroup, prefix: str = "") -> set[str]:
    """The words that name each command below a group."""
    names = set()
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            names |= commands_of(command, f"{prefix}{name} ")
        else:
            names.add(f"{prefix}{name}")
    return names


def test_every_command_is_in_the_table() -> None:
    """Who adds a command says here what it does on a machine where nothing runs."""
    whole = typer.main.get_command(app)
    assert isinstance(whole, typer.core.TyperGroup)
    assert commands_of(whole) == set(TABLE)


def json_too(rows: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Each command plainly, and with ``--json`` where it has that."""
    return [(name, more) for name in rows for more in ((), ("--json",)) if not more or TABLE[name].json]


@pytest.mark.parametrize(("name", "more"), json_too(TABLE))
def test_a_wrong_input_is_told(name: str, more: tuple[str, ...], folder: Path) -> None:
    """With exit code 2, in words that name it, without a traceback, and nothing is left behind."""
    row = TABLE[name]
    done = run(name, (*more, *row.wrong))
    assert done.exit_code == 2, done.output
    assert row.told in done.output
    assert "Traceback" not in done.output
    assert done.stdout == ""
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("name", "more"), json_too(name for name, row in TABLE.items() if row.needs))
def test_where_nothing_runs_it_says_so(name: str, more: tuple[str, ...], folder: Path) -> None:
    """In one sentence that names what is missing and a command to start it, with exit code 2, and no file is made."""
    row = TABLE[name]
    (folder / "a.png").write_bytes(picture(1))
    done = run(name, (*more, *row.right))
    assert done.exit_code == 2, done.output
    assert len(done.stderr.splitlines()) == 1
    assert "no stack runs on .twinlens" in done.stderr
    assert str(row.needs) in done.stderr
    assert "start one with `twinlens up`" in done.stderr
    assert done.stdout == ""
    assert [path.name for path in folder.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(name, row, id=name, marks=pytest.mark.slow if name == "models check" else ())
        for name, row in ALIVE.items()
        if not row.needs
    ],
)
def test_what_needs_nothing_works_anywhere(name: str, row: Row, folder: Path) -> None:
    """It answers on standard output, in plain text where that is no terminal, and leaves nothing behind."""
    done = run(name, row.right)
    assert done.exit_code == 0, done.output
    assert done.stdout
    assert "\x1b" not in done.stdout
    assert list(folder.iterdir()) == []
    if row.json:
        assert undocumented(name, run(name, (*row.right, "--json")).stdout) == set()


@pytest.mark.parametrize("name", TABLE)
def test_json_is_where_the_table_says(name: str) -> None:
    """So that the documentation can be believed; docs/commands.md has an example of each."""
    told = run(name, ("--help",)).output
    assert ("--json" in told) == TABLE[name].json
    finds_the_stack = TABLE[name].needs is not None or name in ("up", "models list", "grants mysql")
    assert bool(re.search(r"--data\b(?!base)", told)) == finds_the_stack


def test_every_answer_is_documented() -> None:
    """docs/commands.md has a row for each command that speaks JSON; the embedded stack's test compares the keys."""
    assert set(documented_answers()) == {name for name, row in TABLE.items() if row.json}


def test_whatever_comes_to_an_end_speaks_json() -> None:
    """All commands but those that run until they are stopped; ``up`` has a report instead."""
    assert {name for name, row in TABLE.items() if not row.json} == {"up", "worker", "api"}


def test_help_loads_nothing_heavy() -> None:
    """Neither that of the whole nor that of a command: it is there at once."""
    done = subprocess.run(
        [sys.executable, "-c", HELP, ",".join(["", *TABLE])],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "import-predecessor" in done.stdout
    loaded = set(done.stderr.rpartition("loaded:")[2].split())
    assert "typer" in loaded
    assert not loaded & HEAVY


def test_the_version_is_told() -> None:
    """As every command line does."""
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.output.startswith("twinlens")
