"""The parts of the tests' stack that need no server."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.harness.stack import fixtures
from tests.harness.stack.cache import made_once
from tests.harness.stack.external import VARIABLES, as_variables, named_servers, with_named
from tests.harness.stack.health import answers_statements
from tests.harness.stack.process import Command, ServerError, ServerProcess, _claims, free_port
from tests.harness.stack.stack import Addresses, Stack
from tests.harness.stack.supervisor import Supervisor

NOWHERE = Addresses(kafka="", s3="", access_key="", secret_key="", database="", milvus="")
SOMEWHERE = Addresses(
    kafka="127.0.0.1:1",
    s3="127.0.0.1:2",
    access_key="key",
    secret_key="secret",
    database="mysql+asyncmy://user:password@127.0.0.1:3",
    milvus="http://127.0.0.1:4",
)


_CLAIM = "from tests.harness.stack.process import _claims; print(_claims().claim(int(input())))"


class Interrupted(Exception):
    """Stands for whatever may end an installation."""


def test_a_program_is_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second caller gets what the first one made."""
    monkeypatch.setenv("TWINLENS_CACHE", str(tmp_path))
    calls: list[Path] = []
    assert made_once("server", calls.append) == made_once("server", calls.append)
    assert len(calls) == 1


def test_an_interrupted_installation_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a program is never taken for the whole."""
    monkeypatch.setenv("TWINLENS_CACHE", str(tmp_path))

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise Interrupted

    with pytest.raises(Interrupted):
        made_once("server", fail)
    folder = made_once("server", lambda folder: (folder / "whole").touch())
    assert (folder / "whole").exists()
    assert not (folder / "half").exists()


def test_servers_that_the_environment_names_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed variables of a running stack lead another run to it."""
    for name, value in as_variables(SOMEWHERE).items():
        monkeypatch.setenv(name, value)
    assert named_servers() == set(VARIABLES)
    assert with_named(NOWHERE) == SOMEWHERE


def test_servers_can_be_named_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment doesn't name stays ours."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TWINLENS_TEST_MILVUS", "http://elsewhere:19530")
    assert with_named(SOMEWHERE) == replace(SOMEWHERE, milvus="http://elsewhere:19530")


def test_the_database_of_a_stack_is_a_matter_of_choice(tmp_path: Path) -> None:
    """Both databases have a port of their own on one folder; all else is the same, now and at the next start."""
    mysql = Stack(tmp_path, database="mysql")
    mariadb = Stack(tmp_path)
    assert mysql.addresses == mariadb.addresses_with("mysql")
    assert mysql.addresses.database != mariadb.addresses.database
    assert replace(mysql.addresses, database=mariadb.addresses.database) == mariadb.addresses
    assert {*mysql.names} ^ {*mariadb.names} == {"mysql", "mariadb"}


def test_data_of_an_older_version_is_refused(tmp_path: Path) -> None:
    """Rather than to start on it with other secrets."""
    (tmp_path / "addresses.json").write_text('{"kafka": "127.0.0.1:1"}', encoding="utf-8")
    with pytest.raises(ServerError, match="older version"):
        Stack(tmp_path)


def test_an_s3_url_without_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how the variable must look."""
    monkeypatch.setenv("TWINLENS_TEST_S3", "http://127.0.0.1:9000")
    with pytest.raises(ValueError, match="http://access_key:secret_key@host:port"):
        with_named(SOMEWHERE)


def test_a_chosen_port_is_nobody_elses_before_a_server_listens_there() -> None:
    """Another process that tries to take the port is refused, and so is this one if it tries again."""
    port = free_port()
    other = subprocess.run(
        [sys.executable, "-c", _CLAIM], input=f"{port}\n", capture_output=True, text=True, check=True, timeout=60
    )
    assert other.stdout == "False\n"
    assert not _claims().claim(port)


def test_a_process_that_ends_is_started_again(tmp_path: Path) -> None:
    """The supervisor launches it anew, which its new pid shows, and says why it ended."""
    process = ServerProcess(
        "worker",
        Command([sys.executable, "-c", "import time; time.sleep(600)"]),
        log=tmp_path / "log",
        is_ready=lambda: True,
    )
    process.start()
    first, said = process.pid, list[str]()
    supervisor = Supervisor({"worker": process}, said.append)
    assert not supervisor.look()
    process.kill()
    deadline = time.monotonic() + 20
    while not supervisor.look():
        assert time.monotonic() < deadline, "it wasn't started again"
        time.sleep(0.05)
    assert process.pid not in {None, first}
    assert len(said) == 1
    process.stop()


@pytest.mark.parametrize(
    ("code", "reason"),
    [("raise SystemExit(75)", "an outage outlasted its retry budget"), ("raise SystemExit(3)", "exit code 3")],
)
def test_the_end_of_a_process_is_explained(tmp_path: Path, code: str, reason: str) -> None:
    """Whoever watches the stack learns whether an outage or something else ended a worker."""
    said: list[str] = []
    process = ServerProcess(
        "worker", Command([sys.executable, "-c", code]), log=tmp_path / "log", is_ready=lambda: True
    )
    process.launch()
    supervisor = Supervisor({"worker": process}, said.append)
    deadline = time.monotonic() + 20
    while not said:
        assert time.monotonic() < deadline, "nothing was reported"
        supervisor.look()
        time.sleep(0.05)
    process.stop()
    assert reason in said[0]


def test_an_open_port_is_no_database_yet() -> None:
    """A server that accepts connections and drops them, as one does that is still starting, isn't ready."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drop_one() -> None:
            listening.accept()[0].close()

        dropping = threading.Thread(target=drop_one)
        dropping.start()
        assert not answers_statements(f"mysql+asyncmy://user:password@127.0.0.1:{listening.getsockname()[1]}")
        dropping.join()


@pytest.mark.parametrize(("file", "killed"), [("theirs.py", ["kafka", "milvus"]), ("ours.py", [])])
def test_private_servers_run_no_longer_than_the_tests_of_their_files(file: str, killed: list[str]) -> None:
    """The first test of another file has them killed; one of a file with tests on them doesn't."""
    found: list[str] = []
    item: Any = SimpleNamespace(path=Path(file), config=SimpleNamespace(stash=pytest.Stash()))
    item.config.stash[fixtures.PRIVATE_FILES] = {Path("ours.py")}
    fixtures.pytest_runtest_setup(item)
    private: Any = SimpleNamespace(names=("kafka", "milvus"), kill=found.append)
    item.config.stash[fixtures.PRIVATE] = private
    fixtures.pytest_runtest_setup(item)
    assert found == killed
