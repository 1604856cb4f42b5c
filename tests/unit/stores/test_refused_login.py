"""A database that does not let us in is told apart from a bug, and from one that is away."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from schemas.errors import CatalogOutage, ConfigurationError
from stores.catalog import migrate
from stores.catalog.engine import outages


def refused() -> OperationalError:
    """What the driver raises for a wrong password."""
    return OperationalError(
        "connect", {}, Exception(1045, "Access denied for user 'root'@'here' (using password: YES)")
    )


def test_workers_wait_for_the_right_password() -> None:
    """As for a bucket that is denied: nothing is given up for it, and the reason is in the log."""
    with pytest.raises(CatalogOutage, match=r"refuses the login: .*Access denied"), outages():
        raise refused()


async def test_setup_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait in vain for what somebody has to change."""

    def deny(_: object) -> None:
        raise refused()

    monkeypatch.setattr(migrate, "_upgrade", deny)
    with pytest.raises(ConfigurationError, match="refuses the login"):
        await migrate.upgrade("sqlite+aiosqlite://")
