"""What the ingest worker does with a batch of image requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from schemas.image_requests import ImageRequest, InvalidRequest, parse_image_request
from schemas.records import RequestRecord
from schemas.settings import Settings
from streams.carry_out_request import RequestPorts, carry_out, publish_outcome, refuse
from streams.deliveries import DeadLetters, Delivery, PutAside

log = structlog.get_logger(__name__)

type Asked = tuple[ImageRequest | InvalidRequest, Delivery]


@dataclass(frozen=True, slots=True)
class Requests:
    """Handles batches of image requests. When ``handle`` returns, every one may be acknowledged."""

    ports: RequestPorts
    dead_letters: DeadLetters
    settings: Settings

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Requests for one key in their order, different keys side by side. Raises Outage beyond the budget."""
        by_key: dict[tuple[str, str], list[Asked]] = {}
        for delivery in deliveries:
            try:
                request: ImageRequest | InvalidRequest = parse_image_request(delivery.value, delivery.headers)
            except InvalidRequest as invalid:
                request = invalid
            except Exception as error:
                # Whatever is wrong with a message, it must not stop those behind it.
                await self.dead_letters.put_aside(delivery, error)
                continue
            by_key.setdefault(self._order_key(request), []).append((request, delivery))
        slots = asyncio.Semaphore(self.settings.ingest.concurrency)

        async def in_order(asked: list[Asked]) -> None:
            async with slots:
                for request, delivery in asked:
                    await self._handle(request, delivery)

        await asyncio.gather(*[in_order(asked) for asked in by_key.values()])

    async def sweep(self) -> int:
        """Publish again the outcomes that were not published in time. Raises Outage."""
        due = await self.ports.ledger.due(self.ports.common.clock.now(), limit=self.settings.sweep.batch_size)
        for request in due:
            await publish_outcome(request, self.ports)
        return len(due)

    async def _handle(self, request: ImageRequest | InvalidRequest, delivery: Delivery) -> None:
        async def answer() -> RequestRecord:
            if isinstance(request, InvalidRequest):
                return await refuse(request, self.ports)
            return await carry_out(request, self.ports)

        try:
            row = await self.dead_letters.isolate(delivery, answer, attempts=self.settings.ingest.max_attempts)
        except PutAside:
            return
        log.info("request_done", request_id=row.request_id, outcome=str(row.outcome), reason=row.reason)

    def _order_key(self, request: ImageRequest | InvalidRequest) -> tuple[str, str]:
        """Requests with the same one are carried out one after the other."""
        if isinstance(request, InvalidRequest):
            return "", request.request_id
        return request.bucket or self.ports.buckets[0], request.key
