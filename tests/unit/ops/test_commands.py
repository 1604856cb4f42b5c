"""The commands as a person meets them: what they print, and their exit codes."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from ops.cli import app
from schemas.settings import PREFIX, Settings, setting_names

RUNNER = CliRunner()
IMPORT = ["import-predecessor", "--endpoint", "127.0.0.1:9", "--access-key", "a", "--secret-key", "s", "--database"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Commands in an empty folder, with nothing of Twinlens in the environment, and the logging of before restored."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for variable in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    yield Run(monkeypatch)
    root.handlers[:] = handlers
    root.setLevel(level)


class Run:
    """Runs ``twinlens`` with arguments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.setenv = monkeypatch.setenv

    def __call__(self, *arguments: str) -> Result:
        return RUNNER.invoke(app, [str(argument) for argument in arguments])


def test_add_puts_pictures_into_the_folder_store(run: Run, tmp_path: Path) -> None:
    """The same files again are left alone."""
    run.setenv("TWINLENS_OBJECTS__BACKEND", "folder")
    (tmp_path / "buckets/pictures").mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a b.jpg").write_bytes(b"picture")
    (tmp_path / "mine/notes.txt").write_bytes(b"text")
    first, second = run("add", "mine", "--prefix", "new/"), run("add", "mine", "--prefix", "new/")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "1 added" in first.output
    assert "0 added, 1 there already" in second.output
    assert [path.name for path in tmp_path.glob("buckets/pictures/**/*.*")] == ["a b.jpg"]


def test_add_tells_what_failed(run: Run, tmp_path: Path) -> None:
    """One bad file makes the exit code 1, and the others are added all the same."""
    run.setenv("TWINLENS_OBJECTS__BACKEND", "folder")
    run.setenv("TWINLENS_LIMITS__MAX_OBJECT_BYTES", "5")
    (tmp_path / "buckets/pictures").mkdir(parents=True)
    (tmp_path / "good.jpg").write_bytes(b"good")
    (tmp_path / "big.jpg").write_bytes(b"too big")
    result = run("add", "good.jpg", "big.jpg")
    assert result.exit_code == 1
    assert "1 added, 1 failed" in result.output
    assert "big.jpg: has 7 bytes, more than the 5 of limits.max_object_bytes" in result.output
    assert (tmp_path / "buckets/pictures/good.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["add", "nowhere"], 1, "error: there is no file or folder nowhere"),
        (["add", ".", "--bucket", "other"], 78, "other is not among objects.buckets"),
        (["add", "."], 1, "no pictures were found there"),
        ([*IMPORT, "mysql://u:p@h/d"], 78, "--database has to begin with mysql+asyncmy://, not mysql://"),
        ([*IMPORT, "nothing"], 78, "--database is no URL"),
        ([*IMPORT, "mysql+asyncmy://h/d", "--bucket", "other"], 78, "other is not among objects.buckets"),
        (["forget-bucket", "pictures"], 1, "pictures is among objects.buckets"),
        (["search", "nowhere.jpg"], 1, "nowhere.jpg can't be read: No such file or directory"),
        (["search", "here.txt", "--api", "http://127.0.0.1:1"], 75, "api: no query service answers at"),
        (["up", "--photos", "nowhere"], 1, "error: there is no file or folder nowhere"),
        (["up", "--photos", "."], 1, "error: there are no pictures in ."),
    ],
)
def test_mistakes_are_told_in_one_line(run: Run, tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    """No traceback, and an exit code that says whose turn it is."""
    (tmp_path / "here.txt").write_text("text")
    result = run(*arguments)
    assert result.exit_code == code
    assert text in result.output
    assert "Traceback" not in result.output


def test_up_without_minio_says_so(run: Run, tmp_path: Path) -> None:
    """Who asks for MinIO and has none is not given a folder instead."""
    run.setenv("PATH", "")
    run.setenv("TWINLENS_CACHE", str(tmp_path))
    result = run("up", "--objects", "minio")
    assert result.exit_code == 1
    assert "no `minio` program was found" in result.output


def test_the_text_of_an_error_is_no_markup(run: Run) -> None:
    """A name in brackets is printed as it is."""
    result = run("add", "[/bold]")
    assert result.exit_code == 1
    assert "there is no file or folder [/bold]" in result.output


def test_every_setting_is_documented_with_its_default() -> None:
    """docs/configuration.md has a row for each setting, with its default in the code, and none for anything else."""
    text = (Path(__file__).parents[3] / "docs/configuration.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
    documented = {name.strip().strip("`"): default.strip() for name, default in rows}
    assert documented.keys() == setting_names()
    for name, shown in documented.items():
        section, _, key = name.partition(".")
        default = getattr(Settings(), section)
        assert shown == in_docs(getattr(default, key) if key else default), name


def in_docs(value: Any) -> str:
    """How the page writes a default."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return "none" if value is None else "empty"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value if isinstance(value, str | Path) else json.dumps(value)}`"
