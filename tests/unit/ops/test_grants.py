"""What `twinlens grants` asks of the servers; that it holds is tried out on them in tests/integration."""

from __future__ import annotations

from ops.grants import mysql_statements


def test_a_grant_is_for_one_database_and_sets_the_password() -> None:
    """An underscore in the database's name is no pattern, and a reader who is there already gets the new password."""
    created, altered, granted = mysql_statements("twin_lens", user="reader", password="new")
    assert created.startswith("CREATE USER IF NOT EXISTS 'reader'@'%'")
    assert altered == "ALTER USER 'reader'@'%' IDENTIFIED BY 'new'"
    assert granted == r"GRANT SELECT ON `twin\_lens`.* TO 'reader'@'%'"
