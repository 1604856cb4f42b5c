"""Bringing the database's schema up to date."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.errors import CatalogOutage, ConfigurationError
from schemas.migrations import NEWEST
from schemas.settings import DatabaseSettings
from stores.catalog.engine import create_engine, is_refused_login, outages

LOCK_WAIT_S = 120
"""How long a setup waits for another one on the same database."""
STATEMENT_LIMIT_S = 6 * 3600
"""A migration may have to go through millions of rows."""


async def upgrade(url: str) -> None:
    """Bring the database that an SQLAlchemy URL names to the newest schema. Safe to repeat, and to run twice at once.

    Raises CatalogOutage when the database does not answer, and ConfigurationError when a newer Twinlens has been here,
    or when the database does not let us in.
    """
    engine = create_engine(DatabaseSettings(url=SecretStr(url), timeout_s=STATEMENT_LIMIT_S), may_create=True)
    try:
        with outages():
            async with engine.connect() as connection, _alone(connection):
                await connection.run_sync(_upgrade)
    except CatalogOutage as error:
        if isinstance(error.__cause__, DBAPIError) and is_refused_login(error.__cause__):
            raise ConfigurationError(str(error)) from error
        raise
    finally:
        await engine.dispose()


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration for our migrations, to be run on a connection."""
    config = Config()
    config.set_main_option("script_location", "schemas:migrations")
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    try:
        command.upgrade(alembic_config(connection), "head")
    except CommandError as error:
        raise ConfigurationError(f"the database can't be brought to revision {NEWEST}: {error}") from error


@asynccontextmanager
async def _alone(connection: AsyncConnection) -> AsyncIterator[None]:
    """Keep other setups out: by the write lock of SQLite, where all is one transaction, by a named lock on MySQL."""
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield
        await connection.commit()
        return
    name = f"twinlens-setup-{connection.engine.url.database}"[:64]
    got = await connection.scalar(text("SELECT GET_LOCK(:name, :seconds)"), {"name": name, "seconds": LOCK_WAIT_S})
    if got != 1:
        raise CatalogOutage(f"another setup has been holding the database for {LOCK_WAIT_S} s")
    yield
    await connection.commit()
    # The lock goes with the connection, which ``upgrade`` closes.
