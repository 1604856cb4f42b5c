"""The SQL engine, READ COMMITTED on MySQL, WAL on SQLite; reads of one round trip; errors told apart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Executable, Row, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from schemas.errors import CatalogContention, CatalogOutage
from schemas.settings import DatabaseSettings

type AnyRow = Row[*tuple[Any, ...]]

RETRYABLE_MYSQL = frozenset(
    {
        3,  # the server can't write a file of its own: the disk is full
        1021,  # disk full
        1026,  # error writing a file
        1030,  # error from the storage engine, such as a full disk
        1040,  # too many connections
        1053,  # server shutdown in progress
        1114,  # the table is full, since its disk is
        1129,  # host blocked after many failed connections
        1158,  # network errors, up to 1161
        1159,
        1160,
        1161,
        1203,  # too many connections of this user
        1205,  # lock wait timeout
        1213,  # deadlock
        1290,  # the server runs with --read-only
        1317,  # query interrupted
        1836,  # the server is in read-only mode
        1927,  # connection was killed (MariaDB)
        1969,  # the statement took longer than max_statement_time (MariaDB)
        2002,  # the client's own: can't connect, gone away, lost connection
        2003,
        2006,
        2013,
        2014,
        2055,
        3024,  # the query took longer than max_execution_time (MySQL)
    }
)
"""MySQL and MariaDB error numbers after which the same transaction may succeed."""

LOGIN_REFUSED = frozenset({1044, 1045, 1130, 1698})
"""Access denied to the user, the password, the host or the database: somebody may set it right while we wait."""

_SQLITE_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000")
_NO_FILE = "unable to open database"
_SQLITE_BUSY = (
    "database is locked",
    "database table is locked",
    _NO_FILE,
    "disk i/o error",
    "database or disk is full",
    "attempt to write a readonly database",
)


def create_engine(settings: DatabaseSettings, *, may_create: bool = False) -> AsyncEngine:
    """An engine that connects on first use; close it with ``dispose()``. Only ``may_create`` makes SQLite's file.

    Each statement commits by itself, so a read costs one round trip: there is nothing to roll back after it. BEGIN,
    COMMIT and ROLLBACK are left to whoever writes (``SqlCatalog.transaction``). Connections are not pinged before use,
    which would be a round trip more: :func:`on_living_connection` meets one that was closed meanwhile.

    No statement on MySQL takes longer than ``timeout_s``, whether the server is slow or silent. A lock is waited for
    half as long, so that another's transaction is told apart from a server in trouble.
    """
    url = make_url(settings.url.get_secret_value())
    if url.get_backend_name() == "sqlite":
        if not may_create:
            url = _of_existing_file(url)
        engine = create_async_engine(
            url, connect_args={"timeout": 30, "isolation_level": None}, skip_autocommit_rollback=True
        )
        _run_on_connect(engine, *(f"PRAGMA {pragma}" for pragma in _SQLITE_PRAGMAS))
        return engine
    engine = create_async_engine(
        url,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,
        pool_size=settings.pool_size,
        max_overflow=settings.pool_size,
        pool_recycle=1800,
        connect_args={"connect_timeout": 10, "read_timeout": settings.timeout_s},
    )
    _run_on_connect(
        engine, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", _server_side_limits(settings.timeout_s)
    )
    return engine


def _of_existing_file(url: URL) -> URL:
    """SQLite would make the file that isn't there, and a command in the wrong folder an empty catalog."""
    if url.database in (None, "", ":memory:") or url.database.startswith("file:"):
        return url
    return url.set(database=Path(url.database).absolute().as_uri()).update_query_dict({"mode": "rw", "uri": "true"})


def _server_side_limits(timeout_s: float) -> str:
    """A statement that nobody waits for any more is ended by the server too. Each server reads its own comment."""
    on_mysql = f"/*!50708 , max_execution_time = {round(timeout_s * 1000)} */"
    on_mariadb = f"/*M!100101 , max_statement_time = {timeout_s} */"
    return f"SET SESSION innodb_lock_wait_timeout = {max(1, int(timeout_s / 2))} {on_mysql} {on_mariadb}"


def _run_on_connect(engine: AsyncEngine, *statements: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _run(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()


async def on_living_connection[T](attempt: Callable[[], Awaitable[T]]) -> T:
    """Run what begins with taking a connection and is safe to repeat; once more if the connection was found closed.

    The server or a firewall may have closed it while nobody used it; the pool then replaces all that are as old.
    Raises CatalogOutage.
    """
    with outages():
        try:
            return await attempt()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return await attempt()


async def fetch_rows(
    engine: AsyncEngine, query: Executable, parameters: Mapping[str, Any] | None = None
) -> Sequence[AnyRow]:
    """The rows of a query, as last committed. Raises CatalogOutage."""

    async def attempt() -> Sequence[AnyRow]:
        async with engine.connect() as connection:
            return (await connection.execute(query, parameters)).all()

    return await on_living_connection(attempt)


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
        if is_refused_login(error):
            raise CatalogOutage(f"the database refuses the login: {error.orig}") from error
        if _NO_FILE in str(error.orig).lower():
            raise CatalogOutage(f"{error.orig}: is it there? `twinlens setup` makes it") from error
        if is_retryable(error):
            raise CatalogOutage(f"the database asks to try again: {error.orig}") from error
        raise


def is_contention(error: DBAPIError) -> bool:
    """Whether the transaction lost to another one: a deadlock or a lock time-out."""
    return error.orig is not None and bool(error.orig.args) and error.orig.args[0] in (1205, 1213)


def is_refused_login(error: DBAPIError) -> bool:
    """Whether the server does not let us in as who we say that we are."""
    return error.orig is not None and bool(error.orig.args) and error.orig.args[0] in LOGIN_REFUSED


def is_retryable(error: DBAPIError) -> bool:
    """Whether the driver's error is a listed infrastructure error."""
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    if isinstance(error.orig, ConnectionError | TimeoutError | EOFError):
        return True
    code = error.orig.args[0] if error.orig is not None and error.orig.args else None
    if isinstance(code, int):
        return code in RETRYABLE_MYSQL | LOGIN_REFUSED
    return isinstance(error, OperationalError) and any(text in str(error.orig).lower() for text in _SQLITE_BUSY)
