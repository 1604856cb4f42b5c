"""`twinlens rebuild-index`: the index that the settings ask for, over the vectors that are there."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from rich.progress import Progress, TaskID

from ops.progress import progress_bar
from schemas.collection import VIEWS, view_collections
from schemas.errors import VectorIndexOutage
from schemas.settings import Settings
from stores.vectors.milvus import MilvusVectors

_LOOK_EVERY_S = 2.0


async def run_rebuild_index(settings: Settings) -> tuple[int, int]:
    """Build the index anew, of wholes and of views, with progress bars.

    How many vectors are indexed, and how many there are. Raises VectorIndexOutage, ConfigurationError.
    """
    vectors = MilvusVectors(settings.vectors)
    try:
        live = (await vectors.live()).name
        views = [name for layout in VIEWS for name in view_collections(live, layout) if await vectors.has(name)]
        with progress_bar() as progress:
            counts = [await _rebuilt(progress, vectors.of(name)) for name in (live, *views)]
    finally:
        await vectors.close()
    return sum(indexed for indexed, _ in counts), sum(stored for _, stored in counts)


async def _rebuilt(progress: Progress, vectors: MilvusVectors) -> tuple[int, int]:
    """One collection's; how many of its vectors are indexed, and how many there are."""
    bar = progress.add_task("building", total=None)
    watch = asyncio.create_task(_show(progress, bar, vectors))
    try:
        await vectors.rebuild_index()
    finally:
        watch.cancel()
    return await _look(progress, bar, vectors)


async def _show(progress: Progress, bar: TaskID, vectors: MilvusVectors) -> None:
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        # Between the old index and the new one there is none to look at.
        with suppress(VectorIndexOutage):
            await _look(progress, bar, vectors)


async def _look(progress: Progress, bar: TaskID, vectors: MilvusVectors) -> tuple[int, int]:
    indexed, stored = await vectors.rows_indexed()
    progress.update(bar, completed=indexed, total=stored)
    return indexed, stored
