"""Waiting until what was dropped into the bucket can be found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from ops.embedded.errors import StackError
from ops.http_client import ApiAway, ApiClient
from query_api.sharing.shared import FRESH_S
from streams.common.backoff import OutageRetry
from streams.repair.comparing import ComparePorts, compare_objects
from streams.repair.drift import DriftKind

POLL_S: Final = 0.3
STALLED_S: Final = 300.0
"""Nothing at all becoming searchable for so long means that something is broken."""

Show = Callable[[int, int], object]
"""Called with the number of objects that are done, and of all."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The counts of ``/v1/stats`` that the report names."""

    objects: int
    contents: int
    indexed: int
    rejected: int
    pending: int

    @classmethod
    def of(cls, stats: Mapping[str, Any]) -> Figures:
        """From the answer of ``/v1/stats``."""
        return cls(**{name: int(stats[name]) for name in cls.__dataclass_fields__})


async def wait_until_searchable(
    client: ApiClient,
    agrees: Callable[[], Awaitable[bool]],
    show: Show,
    *,
    stalled_s: float = STALLED_S,
) -> Figures:
    """Wait until the catalog ``agrees`` with the bucket and nothing is pending.

    Raises StackError when nothing moves for ``stalled_s``.
    """
    loop = asyncio.get_running_loop()
    moved, last, agreed = loop.time(), -1, inf
    while True:
        asked_at = loop.time()
        figures = await _figures(client)
        if figures is not None:
            done = figures.indexed + figures.rejected
            show(done, figures.objects)
            # What the catalog knows since they agree is pending in figures that were read after that, or done.
            if asked_at - agreed >= FRESH_S and figures.pending == 0:
                return figures
            if done != last:
                moved, last = loop.time(), done
            if figures.pending > 0:
                agreed = inf
            elif agreed == inf and await agrees():
                agreed = loop.time()
        if loop.time() - moved > stalled_s:
            raise StackError(f"nothing became searchable for {stalled_s:.0f} s, with {figures}; see the logs")
        await asyncio.sleep(POLL_S)


async def catalog_agrees(
    buckets: Iterable[str], ports: ComparePorts, retry: OutageRetry, *, but_for: Collection[DriftKind] = ()
) -> bool:
    """Whether the catalog knows every object of the buckets in its present version, and no other.

    Differences of the kinds ``but_for`` don't count.
    """
    for bucket in buckets:
        async for page in compare_objects(bucket, ports, retry):
            if any(drift.kind not in but_for for drift in page.drifts):
                return False
    return True


async def _figures(client: ApiClient) -> Figures | None:
    """None while the query service is away: whoever starts it again reports it."""
    try:
        return Figures.of(await client.stats())
    except ApiAway:
        return None
