"""Asking whether a server answers: by its health address, or by a statement."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

_STATEMENT_SECONDS = 5.0


def answers_ok(url: str) -> bool:
    """Whether GET `url` answers 200 within two seconds."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def answers_statements(url: str) -> bool:
    """Whether the database server of an SQLAlchemy URL lets its user in and answers `SELECT 1` within seconds.

    A port that is open, or a greeting, is none yet: while a server starts, it may drop the connection of the first
    statement. Waits in a thread that has no running event loop.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        asyncio.run(asyncio.wait_for(_select_one(url), _STATEMENT_SECONDS))
    except (SQLAlchemyError, OSError, TimeoutError):
        return False
    return True


async def _select_one(url: str) -> None:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
