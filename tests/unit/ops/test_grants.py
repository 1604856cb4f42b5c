"""What `twinlens grants` asks of the servers; that it holds is tried out on them in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops import grants
from ops.cli import app
from ops.grants import make_users
from ops.privileges import Access, StoreServer, mysql_statements
from schemas.settings import Settings


def test_a_grant_is_for_one_database_and_sets_the_password() -> None:
    """An underscore in the database's name is no pattern, and a reader who is there already gets the new password."""
    created, altered, granted = mysql_statements("twin_lens", user="reader", password="new")
    assert created.startswith("CREATE USER IF NOT EXISTS 'reader'@'%'")
    assert altered == "ALTER USER 'reader'@'%' IDENTIFIED BY 'new'"
    assert granted == r"GRANT SELECT ON `twin\_lens`.* TO 'reader'@'%'"


def test_workers_write_rows_and_no_more() -> None:
    """Tables are the administrator's."""
    *_, granted = mysql_statements("twinlens", Access.WRITE, password="new")
    assert granted == "GRANT SELECT, INSERT, UPDATE, DELETE ON `twinlens`.* TO 'twinlens_writer'@'%'"


async def test_setup_makes_both_users_on_each_server_with_their_own_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gets the password of its file, without the line's end that an editor leaves; no other server is touched."""
    made: list[tuple[str, Access, str]] = []

    async def in_mysql(_: object, access: Access, *, password: str) -> None:
        made.append(("mysql", access, password))

    monkeypatch.setattr(grants, "create_mysql_user", in_mysql)
    for server in ("minio", "milvus"):
        monkeypatch.setattr(
            grants,
            f"create_{server}_user",
            lambda _, access, *, password, server=server: made.append((server, access, password)),
        )
    for server in ("mysql", "minio", "milvus"):
        for kind in ("writer", "reader"):
            (tmp_path / f"{server}_{kind}_password").write_text(f"{server}-{kind}\n", encoding="utf-8")
    users = await make_users(Settings(), (StoreServer.MYSQL, StoreServer.MILVUS), tmp_path)
    assert users == {server: ["twinlens_writer", "twinlens_reader"] for server in ("mysql", "milvus")}
    assert made == [
        (server, access, f"{server}-{kind}")
        for server in ("mysql", "milvus")
        for access, kind in ((Access.WRITE, "writer"), (Access.READ, "reader"))
    ]


def test_setup_makes_no_users_without_passwords() -> None:
    """Before anything was done, it says what is missing."""
    done = CliRunner().invoke(app, ["setup", "--users", "mysql"])
    assert done.exit_code == 2
    assert "--passwords" in done.output
