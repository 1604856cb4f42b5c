"""`twinlens recount`: the kept figures, counted anew."""

from __future__ import annotations

from ops.scanning import scanning
from schemas.settings import Settings
from stores.catalog.engine import create_engine
from stores.catalog.sql import SqlCatalog


async def run_recount(settings: Settings, *, limit_s: float) -> int:
    """Count what is kept of figures anew; how many contents there are.

    Raises CatalogOutage, and ScanTooLong after ``limit_s`` seconds.
    """
    contents = 0
    # One statement reads all images: it may take longer than a statement of the workers.
    catalog = SqlCatalog(create_engine(settings.database.model_copy(update={"timeout_s": limit_s})))
    try:
        async with scanning("contents counted", limit_s=limit_s) as counted:

            def count(number: int) -> None:
                nonlocal contents
                contents += number
                counted(number)

            await catalog.recount(count)
    finally:
        await catalog.close()
    return contents
