"""How many statements a catalog sends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from stores.catalog.sql import SqlCatalog


class Counted:
    """``statements`` that were sent, BEGIN and COMMIT among them."""

    statements = 0


@contextmanager
def counting(catalog: SqlCatalog) -> Iterator[Counted]:
    """Count what is sent to the database within the block."""
    counted = Counted()
    engine = catalog._engine.sync_engine

    def count(*_: object) -> None:
        counted.statements += 1

    event.listen(engine, "before_cursor_execute", count)
    try:
        yield counted
    finally:
        event.remove(engine, "before_cursor_execute", count)
