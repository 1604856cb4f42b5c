"""The commands as a person meets them: what they print, and their exit codes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ops.cli import app
from schemas.settings import PREFIX

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
        (["add", ".", "--bucket", "other"], 2, "other is not among objects.buckets"),
        (["add", "."], 1, "no pictures were found there"),
        ([*IMPORT, "nothing"], 2, "--database is no URL"),
        ([*IMPORT, "mysql+asyncmy://h/d", "--bucket", "other"], 2, "other is not among objects.buckets"),
        (["search", "."], 2, "there are no pictures in .; --all takes files of every name"),
        (["up", "--photos", "."], 2, "error: there are no pictures in ."),
    ],
)
def test_mistakes_are_told_in_one_line(run: Run, tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    """No traceback, and an exit code that says whether the command ran; `tests.harness.commands` has one of each."""
    run.setenv("TWINLENS_OBJECTS__BACKEND", "folder")
    (tmp_path / "buckets/pictures").mkdir(parents=True)
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
    assert result.exit_code == 2
    assert "no `minio` program was found" in result.output
    assert list(tmp_path.iterdir()) == []


def test_the_text_of_an_error_is_no_markup(run: Run) -> None:
    """A name in brackets is printed as it is."""
    result = run("add", "[/bold]")
    assert result.exit_code == 2
    assert "there is no file or folder [/bold]" in result.output


def test_the_list_of_commands_comes_quickly() -> None:
    """`twinlens --help` imports none of the libraries that take a second between them; commands do when they run."""
    program = "import sys; from ops.cli import app; print(*sys.modules); app(['--help'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    imported = {name.partition(".")[0] for name in done.stdout.splitlines()[0].split()}
    slow = {"aiokafka", "alembic", "cv2", "fastapi", "faust", "httpx", "minio", "numpy", "onnxruntime", "pandas", "PIL"}
    assert not imported & (slow | {"pydantic", "pymilvus", "sqlalchemy", "structlog", "uvicorn", "yaml"})
    assert "dead-letters" in done.stdout


@pytest.mark.slow
def test_a_worker_starts_without_what_only_setup_needs() -> None:
    """Each worker is a process of its own: Alembic with its templates would cost each a third of a second."""
    program = "import sys; import streams.process.worker, query_api.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert not {"alembic", "mako"} & {*done.stdout.split()}
