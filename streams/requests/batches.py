"""What the requests worker does with a batch of image requests, and with the rows that they leave."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain

import structlog

from schemas import tracing
from schemas.errors import BucketOutage
from schemas.image_requests import ImageRequest, InvalidImageRequest, parse_image_request
from schemas.records import RequestRecord
from schemas.settings import Settings
from streams.common import metrics
from streams.common.checkpoints import Step
from streams.common.deliveries import DeadLetters, Delivery, PutAside
from streams.requests.carry_out import carry_out, refuse, refuse_unreachable
from streams.requests.fetching import begun
from streams.requests.outcomes import RequestPorts, send_outcomes

log = structlog.get_logger(__name__)

BUCKET_WAITED_FOR = timedelta(seconds=10)
"""A bucket that is gone or denied for longer is waited for no more: its requests are refused until it is back."""

type ReceivedRequest = tuple[ImageRequest | InvalidImageRequest, Delivery]


@dataclass(frozen=True, slots=True)
class Requests:
    """Handles batches of image requests. When ``handle`` returns, every one may be acknowledged."""

    ports: RequestPorts
    dead_letters: DeadLetters
    settings: Settings

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Answer each request: what was done before at once, the others when they are. Raises Outage beyond the budget.

        The URLs of a batch are fetched side by side, within ``requests.batch_timeout_s``.
        """
        ledger, retry = self.ports.ledger, self.dead_letters.retry
        received = await self._readable(deliveries)
        known = await retry.run(lambda: ledger.concluded({request.request_id for request, _ in received}))
        answered = [known[request.request_id] for request, _ in received if request.request_id in known]
        await retry.run(lambda: send_outcomes(answered, self.ports))
        fresh = [(request, delivery) for request, delivery in received if request.request_id not in known]
        urls = {request.url for request, _ in fresh if isinstance(request, ImageRequest) and request.url is not None}
        max_bytes, timeout_s = self.ports.max_bytes, self.settings.requests.batch_timeout_s
        async with begun(urls, self.ports.fetch, max_bytes=max_bytes, timeout_s=timeout_s) as fetch:
            answered += await self._carry_out(fresh, replace(self.ports, fetch=fetch))
        await retry.run(lambda: ledger.published({row.request_id for row in answered}))
        await self.ports.reached(Step.BATCH_HANDLED)

    async def sweep(self) -> int:
        """Publish again the outcomes that were not published in time. Raises Outage."""
        due = await self.ports.ledger.due(self.ports.clock.now(), limit=self.settings.sweep.batch_size)
        await send_outcomes(due, self.ports)
        await self.ports.ledger.published({row.request_id for row in due})
        return len(due)

    async def drop_old(self) -> int:
        """Forget requests that were concluded more than ``requests.kept_days`` ago, a batch of them. Raises Outage."""
        before = self.ports.clock.now() - timedelta(days=self.settings.requests.kept_days)
        dropped = await self.ports.ledger.drop_concluded(before, limit=self.settings.sweep.batch_size)
        metrics.REQUESTS_DROPPED.inc(dropped)
        return dropped

    async def _readable(self, deliveries: Sequence[Delivery]) -> list[ReceivedRequest]:
        """The requests that can be answered; whatever is wrong with another message, it must not stop those."""
        received: list[ReceivedRequest] = []
        for delivery in deliveries:
            try:
                received.append((parse_image_request(delivery.value, delivery.headers), delivery))
            except InvalidImageRequest as invalid:
                received.append((invalid, delivery))
            except Exception as error:
                await self.dead_letters.put_aside(delivery, error)
        return received

    async def _carry_out(self, received: Sequence[ReceivedRequest], ports: RequestPorts) -> list[RequestRecord]:
        """Requests for one key in their order, different keys side by side; those that are no dead letters now."""
        by_key: dict[tuple[str, str], list[ReceivedRequest]] = {}
        for request, delivery in received:
            by_key.setdefault(self._order_key(request), []).append((request, delivery))

        async def in_order(several: list[ReceivedRequest]) -> list[RequestRecord | None]:
            rows = []
            for request, delivery in several:
                with tracing.within(delivery.trace):
                    rows.append(await self._answer(request, delivery, ports))
            return rows

        rows = await asyncio.gather(*[in_order(several) for several in by_key.values()])
        return [row for row in chain.from_iterable(rows) if row is not None]

    async def _answer(
        self, request: ImageRequest | InvalidImageRequest, delivery: Delivery, ports: RequestPorts
    ) -> RequestRecord | None:
        """The concluded row, or None for what is a dead letter now."""

        async def answer() -> RequestRecord:
            if isinstance(request, InvalidImageRequest):
                return await refuse(request, ports)
            try:
                return await carry_out(request, ports)
            except BucketOutage as away:
                if self._is_news(away):
                    raise
                return await refuse_unreachable(request, away, ports)

        try:
            row = await self.dead_letters.isolate(delivery, answer, attempts=self.settings.requests.max_attempts)
        except PutAside:
            return None
        log.info("request_done", request_id=row.request_id, outcome=str(row.outcome), reason=row.reason)
        return row

    def _is_news(self, away: BucketOutage) -> bool:
        """Whether the bucket may be back in a moment, so that waiting is right."""
        since = self.dead_letters.retry.outages.down_since.get(away.dependency)
        return since is None or self.ports.clock.now() < since + BUCKET_WAITED_FOR

    def _order_key(self, request: ImageRequest | InvalidImageRequest) -> tuple[str, str]:
        """Requests with the same one are carried out one after the other."""
        if isinstance(request, InvalidImageRequest):
            return "", request.request_id
        return request.bucket or self.ports.buckets[0], request.key
