"""MySQL, the real one: Debian's newest build, run by the C library that comes with it.

So it runs where another release is installed, without a chroot and without root.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
from pathlib import Path

from tests.stack.install import mysql_command, mysql_fresh_data
from tests.stack.process import Command, ServerProcess

_PROTOCOL_VERSION = 10  # The first byte of a MySQL server's greeting, after four of the packet's own.


def mysql_server(folder: Path, logs: Path, port: int, user: str, password: str) -> ServerProcess:
    """MySQL on 127.0.0.1:`port` with its data in `folder`, where `user` may do everything."""
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
        # A path of a socket has room for 107 bytes, and pytest's folders are deep.
        "socket": "server.sock",
        "pid-file": folder / "server.pid",
        "port": port,
        "bind-address": "127.0.0.1",
        "mysqlx": "OFF",
        # MySQL greets only after it has run this file, so a greeting means that the user is there.
        "init-file": init,
        "secure-file-priv": "NULL",
        "character-set-server": "utf8mb4",
        "innodb-buffer-pool-size": "128M",
        "innodb-redo-log-capacity": "64M",
        "innodb-flush-log-at-trx-commit": 1,
        "max-connections": 300,
        "max-allowed-packet": "64M",
        "performance-schema": "OFF",
    }
    flags = ["--skip-log-bin", "--skip-name-resolve"]
    return ServerProcess(
        "mysql",
        Command([*mysql_command(), *flags, *(f"--{name}={value}" for name, value in options.items())]),
        log=logs / "mysql.log",
        is_ready=lambda: _greets(port),
    )


def _create(data: Path) -> None:
    """Copy the data folder that was made with the program: to make one takes some five seconds."""
    partial = data.with_name("data.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(mysql_fresh_data(), partial)
    partial.rename(data)


def _greets(port: int) -> bool:
    """Whether the server says hello; its port is open before it answers there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        return connection.recv(5)[4:] == bytes([_PROTOCOL_VERSION])
    return False
