"""`twinlens recount`: the kept figures, counted anew."""

from __future__ import annotations

from schemas.settings import Settings
from stores.catalog.engine import create_engine
from stores.catalog.sql import SqlCatalog


async def run_recount(settings: Settings) -> None:
    """Count what is kept of figures anew. Raises CatalogOutage."""
    catalog = SqlCatalog(create_engine(settings.database))
    try:
        await catalog.recount()
    finally:
        await catalog.close()
