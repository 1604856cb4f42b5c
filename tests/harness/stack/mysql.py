"""MySQL, the real one: Debian's newest build, run by the C library that comes with it.

So it runs where another release is installed, without a chroot and without root.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import make_url

from tests.harness.stack.health import answers_statements
from tests.harness.stack.install import mysql_command, mysql_fresh_data
from tests.harness.stack.process import Command, ServerProcess
from tests.harness.stack.sql_options import common_options


def mysql_server(folder: Path, logs: Path, url: str) -> ServerProcess:
    """MySQL with its data in `folder`, at the port of the SQLAlchemy `url`, whose user may do everything."""
    at = make_url(url)
    data = folder / "data"
    if not data.exists():
        _create(data)
    options = {
        **common_options(folder, at),
        # A path of a socket has room for 107 bytes, and pytest's folders are deep.
        "socket": "server.sock",
        "mysqlx": "OFF",
        "secure-file-priv": "NULL",
        "innodb-redo-log-capacity": "64M",
    }
    flags = ["--skip-log-bin", "--skip-name-resolve"]
    return ServerProcess(
        "mysql",
        Command([*mysql_command(), *flags, *(f"--{name}={value}" for name, value in options.items())]),
        log=logs / "mysql.log",
        is_ready=lambda: answers_statements(url),
    )


def _create(data: Path) -> None:
    """Copy the data folder that was made with the program: to make one takes some five seconds."""
    partial = data.with_name("data.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(mysql_fresh_data(), partial)
    partial.rename(data)
