"""What each query of the catalog's ports takes on real MySQL, among ever more images.

    python -m bench.catalog [--rows 20000 200000 2000000]

They are the queries of ``tests/contracts/test_flat.py``. Where one has several forms, the slowest counts; of several
runs of one, the fastest, since others may use the machine. The rows that the server reads do not depend on that.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import report
from schemas.settings import DatabaseSettings
from stores.catalog import figures
from stores.catalog.engine import create_engine
from stores.catalog.migrate import upgrade
from stores.catalog.reading.sql import SqlCatalogReader
from stores.catalog.sql import SqlCatalog
from tests.harness.large_catalog import fill, rows_read
from tests.harness.queries import QUERIES, Large, Query
from tests.harness.stack.cleanup import run_sql
from tests.harness.stack.stack import Addresses, Stack

_TIMES = 15
_FILL_LIMIT_S = 3600


class Cost(NamedTuple):
    """What a query takes: milliseconds, and rows or entries of an index that the server reads."""

    ms: float
    rows: int


type Costs = dict[str, Cost]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000, 2_000_000])
    options = parser.parse_args()
    console = report.terminal()
    with tempfile.TemporaryDirectory(prefix="twinlens-catalog-") as folder:
        stack = Stack(Path(folder), database="mysql")
        stack.start("mysql")
        try:
            found = [asyncio.run(_measured(stack.addresses, count)) for count in options.rows]
        finally:
            stack.stop()
    console.print(_table(options.rows, found))


async def _measured(addresses: Addresses, count: int) -> Costs:
    """The fastest of _TIMES runs of each query, warm, in a catalog of so many images."""
    name = f"rows{count}"
    await run_sql(addresses.database, f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    url = addresses.database_url(name)
    await upgrade(url)
    engine = create_engine(DatabaseSettings.model_validate({"url": url, "pool_size": 1, "timeout_s": _FILL_LIMIT_S}))
    async with engine.connect() as connection:
        await fill(connection, count)
    catalog = SqlCatalog(engine)
    async with catalog.transaction(repeatable=True) as tx:
        await figures.recount(tx, on_sqlite=False)
    large = Large(catalog, SqlCatalogReader(engine))
    taken = {each: max([await _cost(query, large, engine) for query in queries]) for each, queries in QUERIES.items()}
    await engine.dispose()
    await run_sql(addresses.database, f"DROP DATABASE {name}")
    return taken


async def _cost(query: Query, large: Large, engine: AsyncEngine) -> Cost:
    await query(large)
    times = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        await query(large)
        times.append(1000 * (time.perf_counter() - began))
    return Cost(min(times), await rows_read(engine, lambda: query(large)))


def _table(sizes: Sequence[int], found: Sequence[Costs]) -> Table:
    """A row for each query: milliseconds and rows read by size, and the last time over the first."""
    table = Table("query", *[f"{size:,}: ms" for size in sizes], "growth", *[f"{size:,}: rows" for size in sizes])
    for name in found[0]:
        costs = [each[name] for each in found]
        times, rows = [f"{cost.ms:.1f}" for cost in costs], [f"{cost.rows:,}" for cost in costs]
        table.add_row(name, *times, f"{costs[-1].ms / costs[0].ms:.2f}", *rows)
    return table


if __name__ == "__main__":
    main()
