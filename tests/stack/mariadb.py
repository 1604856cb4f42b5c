"""MariaDB, standing in for MySQL."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.stack.install import mariadb_program
from tests.stack.process import Command, ServerError, ServerProcess, port_answers

_MYSQL_8_MODE = (
    "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION"
)


def mariadb_server(folder: Path, logs: Path, port: int, user: str, password: str) -> ServerProcess:
    """MariaDB on 127.0.0.1:`port` with its data in `folder`, where `user` may do everything."""
    data = folder / "data"
    if not (data / "mysql").exists():
        _create(data)
    init = folder / "init.sql"
    init.write_text(
        f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';\n"
        f"GRANT ALL PRIVILEGES ON *.* TO '{user}'@'%' WITH GRANT OPTION;\n",
        encoding="utf-8",
    )
    init.chmod(0o600)
    options = {
        "datadir": data,
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
    data.parent.mkdir(parents=True, exist_ok=True)
    program = str(mariadb_program("mariadb-install-db"))
    done = subprocess.run(
        [
            program,
            "--no-defaults",
            f"--datadir={data}",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
            *_run_as(),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0:
        raise ServerError(f"MariaDB's data folder can't be made:\n{done.stdout}{done.stderr}")
