"""MariaDB, standing in for MySQL."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from sqlalchemy import make_url

from tests.harness.stack.cache import made_once
from tests.harness.stack.health import answers_statements
from tests.harness.stack.install import mariadb_program
from tests.harness.stack.process import Command, ServerError, ServerProcess
from tests.harness.stack.sql_options import common_options

_MYSQL_8_MODE = (
    "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION"
)


def mariadb_server(folder: Path, logs: Path, url: str) -> ServerProcess:
    """MariaDB with its data in `folder`, at the port of the SQLAlchemy `url`, whose user may do everything."""
    at = make_url(url)
    data = folder / "data"
    if not data.exists():
        _create(data)
    options = {
        **common_options(folder, at),
        "socket": folder / "server.sock",
        "sql-mode": _MYSQL_8_MODE,
        "innodb-log-file-size": "64M",
    }
    arguments = [str(mariadb_program("mariadbd")), "--no-defaults", "--skip-name-resolve", *_run_as()]
    return ServerProcess(
        "mariadb",
        Command([*arguments, *(f"--{name}={value}" for name, value in options.items())]),
        log=logs / "mariadb.log",
        is_ready=lambda: answers_statements(url),
    )


def _run_as() -> list[str]:
    """MariaDB refuses to run as root unless told so."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _create(data: Path) -> None:
    """Copy a fresh data folder, which is made once for each version of MariaDB."""
    banner = _run([str(mariadb_program("mariadbd")), "--version"])
    version = re.sub(r"[^\w.]+", "-", banner.partition(" Ver ")[2]).strip("-")
    partial = data.with_name("data.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(made_once(f"mariadb-data-{version}", _make_fresh_data) / "data", partial)
    partial.rename(data)


def _make_fresh_data(folder: Path) -> None:
    (folder / "tmp").mkdir()
    _run(
        [
            str(mariadb_program("mariadb-install-db")),
            "--no-defaults",
            f"--datadir={folder / 'data'}",
            f"--tmpdir={folder / 'tmp'}",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
            *_run_as(),
        ]
    )


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise ServerError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
