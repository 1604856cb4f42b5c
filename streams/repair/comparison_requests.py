"""Comparisons that are wanted, and those that were made, as the catalog remembers them over restarts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import structlog

from stores.catalog.ports import Catalog
from streams.common.ports import Clock

REQUESTED, LAST = "reconcile:wanted", "reconcile:last"
"""Names of the last request and of the last complete comparison: of all buckets, or, with ``:NAME``, of one."""

PERIODIC = "periodic"
"""The reason of a comparison that nobody asked for."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ComparisonRequest:
    """A comparison that begins after ``since`` is wanted: of one bucket, or of all."""

    since: datetime
    reason: str
    bucket: str | None = None

    @classmethod
    def parse(cls, position: Any, bucket: str | None) -> Self:
        """From what the catalog remembers."""
        return cls(datetime.fromisoformat(position["since"]), position["reason"], bucket)


@dataclass(frozen=True, slots=True)
class LastComparison:
    """The last complete comparison."""

    started: datetime
    finished: datetime
    reason: str

    @classmethod
    def parse(cls, position: Any) -> Self:
        """From what the catalog remembers."""
        started, finished = (datetime.fromisoformat(position[name]) for name in ("started", "finished"))
        return cls(started, finished, position["reason"])

    def as_json(self) -> dict[str, str]:
        """As the catalog remembers it."""
        return {"started": self.started.isoformat(), "finished": self.finished.isoformat(), "reason": self.reason}


def name_of(kind: str, bucket: str | None) -> str:
    """The name under which the catalog remembers a request or a comparison."""
    return kind if bucket is None else f"{kind}:{bucket}"


async def request_comparison(reason: str, catalog: Catalog, clock: Clock, *, bucket: str | None = None) -> None:
    """Write down that a comparison which begins from now on is wanted. Raises CatalogOutage."""
    now = clock.now()
    request = {"since": now.isoformat(), "reason": reason}
    await catalog.save_progress(name_of(REQUESTED, bucket), request, now)
    log.info("reconcile_wanted", reason=reason, bucket=bucket)
