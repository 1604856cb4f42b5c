"""The SQL engine: READ COMMITTED on MySQL, WAL and one writer at a time on SQLite; errors told apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from schemas.errors import CatalogContention, CatalogOutage
from schemas.settings import DatabaseSettings

RETRYABLE_MYSQL = frozenset(
    {
        1040,  # too many connections
        1053,  # server shutdown in progress
        1129,  # host blocked after many failed connections
        1158,  # network errors, up to 1161
        1159,
        1160,
        1161,
        1205,  # lock wait timeout
        1213,  # deadlock
        1317,  # query interrupted
        1927,  # connection was killed (MariaDB)
        2002,  # the client's own: can't connect, gone away, lost connection
        2003,
        2006,
        2013,
        2014,
        2055,
    }
)
"""MySQL and MariaDB error numbers after which the same transaction may succeed."""

_SQLITE_BUSY = ("database is locked", "database table is locked", "unable to open database", "disk i/o error")


def create_engine(settings: DatabaseSettings) -> AsyncEngine:
    """An engine that connects on first use; close it with ``dispose()``."""
    url = make_url(settings.url.get_secret_value())
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(url, connect_args={"timeout": 30, "isolation_level": None})
        _prepare_sqlite(engine)
        return engine
    return create_async_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=settings.pool_size,
        max_overflow=settings.pool_size,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={"connect_timeout": 10},
    )


def _prepare_sqlite(engine: AsyncEngine) -> None:
    """BEGIN is left to us (``isolation_level=None``): a writer begins with BEGIN IMMEDIATE, since FOR UPDATE
    compiles to nothing on SQLite.
    """

    @event.listens_for(engine.sync_engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


@contextmanager
def outages() -> Iterator[None]:
    """Turn errors that waiting can cure into CatalogOutage; others pass."""
    try:
        yield
    except (PoolTimeoutError, ConnectionError, TimeoutError) as error:
        raise CatalogOutage(f"the database does not answer: {error}") from error
    except DBAPIError as error:
        if is_contention(error):
            raise CatalogContention(f"the database asks to try again: {error.orig}") from error
        if is_retryable(error):
            raise CatalogOutage(f"the database asks to try again: {error.orig}") from error
        raise


def is_contention(error: DBAPIError) -> bool:
    """Whether the transaction lost to another one: a deadlock or a lock time-out."""
    return error.orig is not None and bool(error.orig.args) and error.orig.args[0] in (1205, 1213)


def is_retryable(error: DBAPIError) -> bool:
    """Whether the driver's error is a listed infrastructure error."""
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    if isinstance(error.orig, ConnectionError | TimeoutError | EOFError):
        return True
    code = error.orig.args[0] if error.orig is not None and error.orig.args else None
    if isinstance(code, int):
        return code in RETRYABLE_MYSQL
    return isinstance(error, OperationalError) and any(text in str(error.orig).lower() for text in _SQLITE_BUSY)
