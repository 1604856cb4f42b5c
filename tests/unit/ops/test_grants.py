"""What `twinlens grants` asks of the servers; that it holds is tried out on them in tests/integration."""

from __future__ import annotations

from ops.privileges import Access, mysql_statements


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
