"""What MySQL and MariaDB are started with alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL


def common_options(folder: Path, at: URL) -> Mapping[str, object]:
    """For a server with all it has in `folder`, at the port of the URL, whose user may do everything."""
    init = folder / "init.sql"
    init.write_text(
        f"CREATE USER IF NOT EXISTS '{at.username}'@'%' IDENTIFIED BY '{at.password}';\n"
        f"GRANT ALL PRIVILEGES ON *.* TO '{at.username}'@'%' WITH GRANT OPTION;\n",
        encoding="utf-8",
    )
    init.chmod(0o600)
    # Shared with another server, this folder would lose files: each server empties it when it starts.
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        "datadir": folder / "data",
        "tmpdir": temporary,
        "pid-file": folder / "server.pid",
        "port": at.port,
        "bind-address": "127.0.0.1",
        "init-file": init,
        "character-set-server": "utf8mb4",
        "innodb-buffer-pool-size": "128M",
        "innodb-flush-log-at-trx-commit": 1,
        "max-connections": 300,
        "max-allowed-packet": "64M",
        "performance-schema": "OFF",
    }
