"""Threads follow the cores that a container may use, not those that the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imaging import session
from imaging.cores import allowed_cores


def version_2(root: Path, limit: str) -> Path:
    """Control groups of version 2, as a container sees its own."""
    (root / "cpu.max").write_text(f"{limit}\n", encoding="ascii")
    return root


def version_1(root: Path, quota: int, period: int) -> Path:
    """Control groups of version 1."""
    (root / "cpu").mkdir()
    (root / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n", encoding="ascii")
    (root / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n", encoding="ascii")
    return root


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(
    ("limit", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1), ("max 100000", 64), ("", 64)]
)
def test_the_limit_of_the_container_counts(tmp_path: Path, limit: str, cores: int) -> None:
    """A part of a core counts as one; without a limit all cores are there."""
    assert allowed_cores(version_2(tmp_path, limit)) == cores


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(("quota", "cores"), [(400_000, 4), (-1, 64)])
def test_the_limit_of_older_engines_counts(tmp_path: Path, quota: int, cores: int) -> None:
    """As Docker sets it where the machine still has control groups of version 1."""
    assert allowed_cores(version_1(tmp_path, quota, 100_000)) == cores


@pytest.mark.usefixtures("many_cores")
def test_without_control_groups_all_cores_count(tmp_path: Path) -> None:
    """As on other systems than Linux."""
    assert allowed_cores(tmp_path) == 64


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(("asked", "allowed", "threads"), [(0, 4, 4), (3, 4, 3), (0, 64, 0)])
def test_inference_takes_as_many_threads(
    monkeypatch: pytest.MonkeyPatch, asked: int, allowed: int, threads: int
) -> None:
    """What the settings name counts; 0 is the container's limit, and ONNX Runtime's own choice where there is none."""
    monkeypatch.setattr(session, "allowed_cores", lambda: allowed)
    assert session._options(asked).intra_op_num_threads == threads
