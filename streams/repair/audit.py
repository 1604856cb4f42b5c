"""The audit: search for every indexed content's own vector, for ever and gently, and count those that aren't found.

A vector index may count a vector, and return it by its id, though no search reaches it: a damaged graph does that.
Comparing ids, as reconcile does, can't see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog

from schemas import lifecycle
from schemas.errors import Outage
from schemas.records import ContentRecord, ContentState
from schemas.settings import Settings
from schemas.topics import Topics
from stores.broker.ports import Outbox
from stores.catalog.ports import Catalog
from stores.vectors.ports import VectorIndex
from streams.common import metrics
from streams.common.backoff import OutageRetry
from streams.common.hints import content_hint
from streams.common.ports import Clock
from streams.index.converge_contents import found_by_search

PAGE: Final = 200
"""Contents that are searched for at once."""
PROGRESS: Final = "audit"
"""Where the catalog remembers how far the audit has come, over restarts and changes of the leader."""

log = structlog.get_logger(__name__)


class AuditPosition(NamedTuple):
    """The audit goes on behind this vector id of this bucket."""

    bucket: str
    after: int = -1


@dataclass(frozen=True, slots=True)
class AuditPorts:
    """What the audit touches."""

    catalog: Catalog
    vectors: VectorIndex
    outbox: Outbox
    topics: Topics
    clock: Clock


class Audit:
    """Goes through all buckets again and again. ``leads`` tells whether this worker is the one that does the work."""

    def __init__(
        self, ports: AuditPorts, retry: OutageRetry, settings: Settings, leads: Callable[[], bool], *, page: int = PAGE
    ) -> None:
        self._ports = ports
        self._retry = retry
        self._buckets = settings.objects.buckets
        self._rate = settings.audit.rate
        self._leads = leads
        self._page = page

    async def run_for_ever(self) -> None:
        """A page, and then a pause of as many seconds as the rate allows; an outage is gone on after."""
        while self._rate:
            try:
                if self._leads():
                    await self.audit_page()
            except Outage as error:
                log.warning("audit_broken_off", dependency=error.dependency, error=str(error))
            await asyncio.sleep(self._page / self._rate)

    async def audit_page(self) -> None:
        """Search for the vectors of the next contents, and have made anew what is missing. Raises Outage."""
        position = await self._position()
        contents = await self._retry.run(
            lambda: self._ports.catalog.page_of_contents_by_vector(
                position.bucket, after=position.after, limit=self._page
            )
        )
        missing = await self._retry.run(lambda: missing_among(contents, self._ports.catalog, self._ports.vectors))
        if missing:
            log.warning("vectors_not_found", bucket=position.bucket, count=len(missing), sha256=missing[0].sha256)
            hints = [content_hint(content.id, self._ports.topics, verify=True) for content in missing]
            await self._retry.run(lambda: self._ports.outbox.send(hints))
        indexed = sum(content.state is ContentState.INDEXED for content in contents)
        metrics.AUDITED.labels("missing").inc(len(missing))
        metrics.AUDITED.labels("found").inc(indexed - len(missing))
        await self._save(self._next(position, contents))

    async def _position(self) -> AuditPosition:
        saved = await self._retry.run(lambda: self._ports.catalog.progress(PROGRESS))
        position = AuditPosition(**saved) if saved else AuditPosition(self._buckets[0])
        return position if position.bucket in self._buckets else AuditPosition(self._buckets[0])

    def _next(self, position: AuditPosition, contents: Sequence[ContentRecord]) -> AuditPosition:
        """Behind this page, or at the beginning of the next bucket; after the last one comes the first."""
        if len(contents) == self._page:
            return position._replace(after=contents[-1].vector_id)
        following = self._buckets.index(position.bucket) + 1
        return AuditPosition(self._buckets[following % len(self._buckets)])

    async def _save(self, position: AuditPosition) -> None:
        now = self._ports.clock.now()
        await self._retry.run(lambda: self._ports.catalog.save_progress(PROGRESS, position._asdict(), now))


async def missing_among(
    contents: Collection[ContentRecord], catalog: Catalog, vectors: VectorIndex
) -> list[ContentRecord]:
    """Those indexed contents whose own vector no search finds. Raises Outage."""
    indexed = [content for content in contents if content.state is ContentState.INDEXED]
    found = await found_by_search([content.vector_id for content in indexed], vectors)
    suspects = [content for content in indexed if content.vector_id not in found]
    if not suspects:
        return []
    # What has been removed or made anew since the rows were read is not lost.
    rows = await catalog.contents([content.id for content in suspects])
    return [content for content in suspects if content.id in rows and lifecycle.has_lost(rows[content.id], content)]
