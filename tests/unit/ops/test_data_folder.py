"""The folder of an embedded stack: one owner at a time, and what it remembers."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ops.embedded import programs
from ops.embedded.errors import StackError
from ops.embedded.folder import DataFolder, use_running_stack
from ops.embedded.ports import HOST, free_port, is_free

HOLDER = """
import sys, time
from pathlib import Path
from ops.embedded.folder import DataFolder
folder = DataFolder(Path(sys.argv[1]))
with folder.held():
    folder.write_environment({"TWINLENS_API__PORT": "1234", "TWINLENS_OBJECTS__BUCKETS": '["a b"]'})
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.usefixtures("holder")
def test_two_on_one_folder_are_refused(tmp_path: Path) -> None:
    """The second one learns what to do, and the first one's state stays as it is."""
    with pytest.raises(StackError, match="another stack runs on"), DataFolder(tmp_path).held():
        pass
    assert DataFolder(tmp_path).environment_file.exists()


@pytest.mark.parametrize("is_over", [False, True], ids=["runs", "is over"])
def test_a_start_that_fails_removes_nothing_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_over: bool
) -> None:
    """Two starts begin on a folder that isn't there; one makes it, and what the other leaves is the first one's."""
    path = tmp_path / "above" / "data"
    first, second = DataFolder(path), DataFolder(path)
    with ExitStack() as running:

        def made_meanwhile(made: Path, **options: Any) -> None:
            monkeypatch.undo()
            running.enter_context(first.held())
            first.used = True
            (path / "picture").touch()
            if is_over:
                running.close()
            made.mkdir(**options)

        monkeypatch.setattr(Path, "mkdir", made_meanwhile)
        with pytest.raises(StackError), second.held():
            raise StackError("it ends before anything is begun")
        assert (path / "picture").exists()


def test_a_start_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither the folder nor those above it that were made for it; one that was there stays."""
    with pytest.raises(StackError), DataFolder(tmp_path / "above" / "data").held():
        raise StackError("it ends before anything is begun")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.usefixtures("holder")
def test_other_commands_find_the_running_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings are taken over, except those that the environment sets already."""
    monkeypatch.setenv("TWINLENS_API__PORT", "1")
    monkeypatch.setenv("TWINLENS_OBJECTS__BUCKETS", "to be restored")
    monkeypatch.delenv("TWINLENS_OBJECTS__BUCKETS")
    assert use_running_stack(tmp_path)
    assert os.environ["TWINLENS_API__PORT"] == "1"
    assert os.environ["TWINLENS_OBJECTS__BUCKETS"] == '["a b"]'


def test_a_killed_stack_is_not_taken_for_a_running_one(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """After `kill -9` the file of the settings is still there, but nobody holds the folder."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert DataFolder(tmp_path).environment_file.exists()
    assert not use_running_stack(tmp_path)
    with DataFolder(tmp_path).held():
        pass


def test_a_folder_without_a_stack_changes_nothing(tmp_path: Path) -> None:
    """Without a running stack the commands use their own settings."""
    assert not use_running_stack(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_the_secret_is_kept_and_private(tmp_path: Path) -> None:
    """It stays the same from run to run, and only the owner may read it."""
    with DataFolder(tmp_path).held():
        first = DataFolder(tmp_path).credentials()
        assert first == DataFolder(tmp_path).credentials()
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


def test_ports_are_kept_while_they_are_free(tmp_path: Path) -> None:
    """Addresses stay the same from run to run, and never meet."""
    with DataFolder(tmp_path).held():
        ports = {name: DataFolder(tmp_path).port(name) for name in ("kafka", "s3")}
        assert ports["kafka"] != ports["s3"]
        with socket.socket() as other:
            other.bind((HOST, ports["kafka"]))
            other.listen()
            assert DataFolder(tmp_path).port("s3") == ports["s3"]
            assert DataFolder(tmp_path).port("kafka") != ports["kafka"]


def test_a_damaged_state_is_told(tmp_path: Path) -> None:
    """A half-written file is named, not guessed at."""
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StackError, match=r"state\.json is damaged"):
        DataFolder(tmp_path).credentials()


def test_a_taken_port_is_not_free() -> None:
    """A listening server counts, and another port is found."""
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        port = server.getsockname()[1]
        assert not is_free(port)
        assert free_port(wanted=port) != port
    assert is_free(port)


def test_minio_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make stack` built is used; a file that can't be run is not."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("TWINLENS_CACHE", str(tmp_path))
    assert programs.find_minio() is None
    built = tmp_path / "minio-v1" / "minio"
    built.parent.mkdir()
    built.touch()
    assert programs.find_minio() is None
    built.chmod(0o755)
    assert programs.find_minio() == built


def test_the_broker_is_found() -> None:
    """The package that Twinlens depends on holds a binary that can be run."""
    assert os.access(programs.find_tansu(), os.X_OK)
    assert os.access(programs.find_milvus_lite(), os.X_OK)
