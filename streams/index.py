"""What the index worker does with a batch of content messages: prepare ahead, embed and write in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from imaging.decoding import DecodedImage, decode
from imaging.embedding import Embedder
from imaging.limits import DecodeLimits
from schemas.errors import MalformedMessage, Outage
from schemas.messages import ContentChanged
from schemas.records import ContentId, ContentState
from schemas.settings import Settings
from stores.vectors.ports import Vector
from streams import metrics
from streams.converge_content import (
    ContentOutcome,
    IndexPolicy,
    Prepared,
    Settled,
    forgive,
    prepare,
    settle,
    store,
)
from streams.deliveries import DeadLetters, Delivery
from streams.patience import Patience
from streams.ports import Ports
from streams.steps import Step

log = structlog.get_logger(__name__)

type Wanted = dict[ContentId, tuple[ContentChanged, Delivery]]


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """The result of looking ahead: what to embed, what is settled, and what has to be handled alone."""

    wanted: Wanted
    prepared: list[Prepared] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    suspects: list[ContentId] = field(default_factory=list)


class Index:
    """Handles batches of content messages in two steps, so that the next batch is fetched while one is embedded.

    When ``finish`` returns, every message of the batch may be acknowledged.
    """

    def __init__(self, ports: Ports, patience: Patience, settings: Settings, embedder: Embedder) -> None:
        self._ports = ports
        self._patience = patience
        self._settings = settings
        self._embedder = embedder
        self._dead_letters = DeadLetters(ports, patience, "index", settings.kafka.max_message_bytes)
        self._policy = IndexPolicy(embedder.model_id, settings.index.max_attempts, settings.index.nearest)
        self._limits = DecodeLimits(
            max_bytes=settings.limits.max_object_bytes,
            max_pixels=settings.limits.max_pixels,
            max_side=settings.limits.max_side,
            max_memory=settings.limits.max_decode_memory,
        )
        self._decoders = ThreadPoolExecutor(settings.index.decode_threads, thread_name_prefix="decode")
        self._inference = ThreadPoolExecutor(1, thread_name_prefix="embed")

    def close(self) -> None:
        """Stop the threads."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._inference.shutdown(wait=False, cancel_futures=True)

    async def look_ahead(self, deliveries: Sequence[Delivery]) -> PreparedBatch:
        """Everything up to decoded pixels, for contents that were not tried before."""
        wanted = await self._parse(deliveries)
        known = await self._patience.run(lambda: self._ports.catalog.contents(list(wanted)))
        # One that was tried before may have taken its process down: it is handled alone, so that it harms no other.
        suspects = [row.id for row in known.values() if row.state is ContentState.PENDING and row.attempts > 0]
        batch = PreparedBatch(wanted, suspects=suspects)
        slots = asyncio.Semaphore(self._settings.index.concurrency)

        async def one(content_id: ContentId) -> None:
            async with slots:
                await self._prepare_into(batch, content_id)

        await asyncio.gather(*[one(content_id) for content_id in wanted if content_id not in suspects])
        return batch

    async def finish(self, batch: PreparedBatch) -> None:
        """Embed, write and settle. Raises Outage when one outlasts the retry budget."""
        try:
            batch.settled.extend(await self._embed_and_store(batch.prepared))
        except Outage:
            raise
        except Exception:
            log.exception("batch_failed", contents=len(batch.prepared))
            batch.suspects.extend(item.content.id for item in batch.prepared)
        slots = asyncio.Semaphore(self._settings.index.concurrency)

        async def one(settled: Settled) -> None:
            async with slots:
                await self._settle(settled, batch.wanted[settled.content_id][1])

        await asyncio.gather(*[one(settled) for settled in batch.settled])
        for content_id in batch.suspects:
            await self._handle_alone(*batch.wanted[content_id])
        await self._ports.reached(Step.BATCH_HANDLED)

    async def _parse(self, deliveries: Sequence[Delivery]) -> Wanted:
        wanted: Wanted = {}
        for delivery in deliveries:
            try:
                message = ContentChanged.decode(delivery.value)
            except MalformedMessage as error:
                await self._dead_letters.put_aside(delivery, error)
                continue
            earlier, _ = wanted.get(message.content_id, (message, delivery))
            merged = message.model_copy(
                update={
                    "verify": message.verify or earlier.verify,
                    "retry": message.retry or earlier.retry,
                    "event_time": earlier.event_time or message.event_time,
                }
            )
            wanted[message.content_id] = merged, delivery
        return wanted

    async def _prepare_into(self, batch: PreparedBatch, content_id: ContentId) -> None:
        message, _ = batch.wanted[content_id]
        try:
            result = await self._patience.run(lambda: prepare(message, self._ports, self._policy, self._decode))
        except Outage:
            raise
        except Exception:
            log.exception("content_failed", bucket=content_id.bucket, sha256=content_id.sha256)
            batch.suspects.append(content_id)
        else:
            (batch.prepared if isinstance(result, Prepared) else batch.settled).append(result)  # type: ignore[arg-type]

    async def _embed_and_store(self, prepared: Sequence[Prepared]) -> list[Settled]:
        if not prepared:
            return []
        vectors = await self._embed(prepared)
        await self._ports.reached(Step.CONTENT_EMBEDDED)
        entries = list(zip(prepared, vectors, strict=True))
        try:
            return await self._patience.run(lambda: store(entries, self._ports, self._policy))
        except Outage:
            await forgive([item.content for item in prepared], self._ports)
            raise

    async def _embed(self, prepared: Sequence[Prepared]) -> list[Vector]:
        loop = asyncio.get_running_loop()
        pixels = [item.image.pixels for item in prepared]
        with metrics.stage("embed"):
            return list(await loop.run_in_executor(self._inference, self._embedder.embed, pixels))

    async def _decode(self, data: bytes) -> DecodedImage:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, decode, data, self._limits, self._embedder.pixel_spec)

    async def _settle(self, settled: Settled, delivery: Delivery, failure: Exception | None = None) -> None:
        if settled.outcome is ContentOutcome.GAVE_UP and settled.content is not None:
            error = failure or RuntimeError(settled.content.reason or "gave_up")
            await self._dead_letters.put_aside(delivery, error, attempts=settled.content.attempts)
        await self._patience.run(lambda: settle(settled, self._ports))
        log.info(
            "content_converged",
            bucket=settled.content_id.bucket,
            sha256=settled.content_id.sha256,
            outcome=str(settled.outcome),
        )

    async def _handle_alone(self, message: ContentChanged, delivery: Delivery) -> None:
        """One content by itself, until it is done or its attempts are used up; then it is a dead letter too."""
        bound = log.bind(bucket=message.bucket, sha256=message.sha256)
        failure: Exception | None = None
        for attempt in range(1, self._settings.index.max_attempts + 2):
            try:
                result = await self._patience.run(lambda: prepare(message, self._ports, self._policy, self._decode))
                done = await self._embed_and_store([result]) if isinstance(result, Prepared) else [result]
                for settled in done:
                    await self._settle(settled, delivery, failure)
                return
            except Outage:
                raise
            except Exception as error:
                bound.exception("content_failed", attempt=attempt)
                failure = error
        if failure is not None:
            await self._dead_letters.put_aside(delivery, failure, attempts=self._settings.index.max_attempts)
