"""What `twinlens add` says: what was added, and what was left out and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops.add import Verbosity, run_add
from schemas.settings import Settings


async def add(tmp_path: Path, telling: Verbosity) -> bool:
    """Add a folder with one picture and four other things to a bucket in another folder."""
    photos = tmp_path / "photos"
    for name in ("a.jpg", "notes.txt", "more.txt", ".hidden.jpg", "@eaDir/a.jpg"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"bytes")
    (tmp_path / "objects" / "pictures").mkdir(parents=True)
    settings = Settings.model_validate({"objects": {"backend": "folder", "folder": str(tmp_path / "objects")}})
    return await run_add(settings, [photos], bucket=None, prefix="", everything=False, verbosity=telling)


async def test_left_out_files_are_counted_by_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many were left out for which reason is said, and no name."""
    assert await add(tmp_path, Verbosity())
    told = capsys.readouterr().err
    assert "1 added" in told
    assert "4 left out: no picture's name 2, hidden 1, objects.exclude 1" in told
    assert "notes.txt" not in told


async def test_left_out_files_are_named_if_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --verbose each is named with its reason."""
    assert await add(tmp_path, Verbosity(verbose=True))
    told = capsys.readouterr().err
    assert "notes.txt: no picture's name" in told
    assert "@eaDir/a.jpg: objects.exclude" in told


async def test_programs_get_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json all files and reasons are on standard output, and nothing else is."""
    assert await add(tmp_path, Verbosity(as_json=True))
    told = json.loads(capsys.readouterr().out)
    assert told["added"] == ["a.jpg"]
    assert sorted(one["reason"] for one in told["left_out"]) == [
        "hidden", "no picture's name", "no picture's name", "objects.exclude",
    ]  # fmt: skip
