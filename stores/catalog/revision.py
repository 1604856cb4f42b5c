"""Which schema a database has. Apart from ``migrate``, so that processes that only ask start without Alembic."""

from __future__ import annotations

from sqlalchemy import Connection, column, inspect, select, table
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.migrations import NEWEST
from stores.catalog.engine import outages

_ALEMBIC = table("alembic_version", column("version_num"))


async def current_is_newest(engine: AsyncEngine) -> bool:
    """Whether the database has the schema that this code expects. Raises CatalogOutage when it does not answer."""
    with outages():
        async with engine.connect() as connection:
            return await connection.run_sync(_revisions) == [NEWEST]


def _revisions(connection: Connection) -> list[str]:
    if not inspect(connection).has_table(_ALEMBIC.name):
        return []
    return list(connection.scalars(select(_ALEMBIC.c.version_num)))
