"""MariaDB, standing in for MySQL."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.stack.cache import made_once
from tests.stack.install import mariadb_program
from tests.stack.process import Command, ServerError, ServerProcess, port_answers

_MYSQL_8_MODE = (
    "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION"
)


def mariadb_server(folder: Path, logs: Path, port: int, user: str, password: str) -> ServerProcess:
    """MariaDB on 127.0.0.1:`port` with its data in `folder`, where `user` may do everything."""
    data = folder / "data"
    if not data.exists():
        _create(data)
    init = folder / "init.sql"
    init.write_text(
        f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';\n"
        f"GRANT ALL PRIVILEGES ON *.* TO '{user}'@'%' WITH GRANT OPTION;\n",
        encoding="utf-8",
    )
    init.chmod(0o600)
    # Shared with another server, this folder would lose files: each server empties it when it starts.
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    options = {
        "datadir": data,
        "tmpdir": temporary,
        "socket": folder / "server.sock",
        "pid-file": folder / "server.pid",
        "port": port,
        "bind-address": "127.0.0.1",
        # MariaDB listens only after it has run this file, so an open port means that the user is there.
        "init-file": init,
        "sql-mode": _MYSQL_8_MODE,
        "character-set-server": "utf8mb4",
        "innodb-buffer-pool-size": "128M",
        "innodb-log-file-size": "64M",
        "innodb-flush-log-at-trx-commit": 1,
        "max-connections": 300,
        "max-allowed-packet": "64M",
        "performance-schema": "OFF",
    }
    arguments = [str(mariadb_program("mariadbd")), "--no-defaults", "--skip-name-resolve", *_run_as()]
    return ServerProcess(
        "mariadb",
        Command([*arguments, *(f"--{name}={value}" for name, value in options.items())]),
        log=logs / "mariadb.log",
        is_ready=lambda: port_answers(port),
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
