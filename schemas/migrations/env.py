"""What Alembic runs: the migrations, on the connection that ``stores.catalog.migrate`` hands over."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Column, Connection
from sqlalchemy.dialects import mysql
from sqlalchemy.types import JSON

from schemas.tables import metadata


def compare_type(
    _context: Any, _inspected_column: Any, metadata_column: Column[Any], inspected_type: Any, _metadata_type: Any
) -> bool | None:
    """MariaDB keeps JSON as LONGTEXT with a check, and answers so: no difference. None leaves it to Alembic."""
    if isinstance(metadata_column.type, JSON) and isinstance(inspected_type, mysql.LONGTEXT):
        return False
    return None


def run(connection: Connection) -> None:
    """Run the migrations."""
    context.configure(connection=connection, target_metadata=metadata, compare_type=compare_type)
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
