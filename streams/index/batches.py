"""What the index worker does with batches of content messages: the steps of ``converge_contents``, one after the other.

Several batches may be handled at once: while one waits for the vector index, the next is embedded, and the one after it
is fetched and decoded. A content is in one of them at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import batched, islice
from typing import Protocol

import structlog

from imaging.decoding import DecodedImage, Pixels
from schemas import tracing
from schemas.collection import VIEWS, ViewLayout
from schemas.errors import MalformedMessage, ModelsChanged, Outage
from schemas.lifecycle import GAVE_UP, Rules
from schemas.messages import ContentChanged
from schemas.records import ContentId, ContentRecord, ContentState
from schemas.settings import IndexSettings
from stores.catalog.ports import Catalog
from stores.vectors.ports import Vector
from streams.common import metrics
from streams.common.checkpoints import Step
from streams.common.concurrency import halving, side_by_side
from streams.common.deliveries import DeadLetters, Delivery
from streams.common.ports import Checkpoint, Clock, Retry, ServedVectors
from streams.index import converge_contents as steps
from streams.index.converge_contents import Attempt, ContentOutcome, Embedded, Embedding, Prepared, Refused, Settled
from streams.index.nearest import Verify, unverified

log = structlog.get_logger(__name__)


class Inference(Protocol):
    """Decoding and embedding: ``streams.index.inference`` in a worker."""

    @property
    def model_name(self) -> str:
        """Names the vectors; a content that has one of them is marked with it."""

    @property
    def pixel_spec(self) -> Hashable:
        """Two models with equal ones take the same pixels."""

    async def decode(self, data: bytes, layout: ViewLayout) -> DecodedImage:
        """The picture, and its views, as the model takes them. Raises UndecodableImage."""

    async def embed(self, pictures: Sequence[Pixels]) -> Sequence[Vector]:
        """A unit vector for each picture, in order."""


@dataclass(frozen=True, slots=True)
class ContentHint:
    """A content to look at: what was asked for, and the last message that did."""

    message: ContentChanged
    delivery: Delivery


DECISIONS_END_S = 5.0
"""How long a worker that is about to stop waits for its transactions that begin attempts."""

type Batch = Mapping[ContentId, ContentHint]


@dataclass(eq=False, slots=True)
class _Progress:
    """How far the contents of one batch have come; each is in one place. ``failures`` have met a bug."""

    attempts: dict[ContentId, Attempt] = field(default_factory=dict)
    prepared: list[Prepared] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    waiting: list[ContentRecord] = field(default_factory=list)
    vectors: dict[ContentId, Embedding] = field(default_factory=dict)
    other_vectors: dict[ContentId, Embedding] = field(default_factory=dict)
    """What the other model of a switch made of them."""
    brought_over: list[Prepared] = field(default_factory=list)
    embedded: list[Embedded] = field(default_factory=list)
    settled: dict[ContentId, Settled] = field(default_factory=dict)
    suspects: set[ContentId] = field(default_factory=set)
    failures: dict[ContentId, Exception] = field(default_factory=dict)
    begun: dict[ContentId, ContentRecord] = field(default_factory=dict)
    """Attempts that have neither succeeded nor failed."""


@dataclass(frozen=True, slots=True)
class IndexPorts:
    """What the index side touches: each group of steps its own, and besides what a batch itself does."""

    deciding: steps.DecisionPorts
    fetching: steps.FetchPorts
    storing: steps.StorePorts
    recording: steps.RecordPorts
    settling: steps.SettlePorts
    catalog: Catalog
    served: ServedVectors
    clock: Clock
    reached: Checkpoint
    limits: str
    """Names the limits that decisions are made under."""


class Index:
    """Handles batches of content messages. When ``handle`` returns, every message of its batch may be acknowledged.

    ``buckets`` are those that are indexed; None means all. While a switch of models is on, ``other`` is the other
    model, and everything is embedded by both; what is indexed already, by that one alone. When it finds that the models
    have changed, ``handle`` raises ModelsChanged, with the attempts that it has begun given back.
    """

    def __init__(
        self,
        ports: IndexPorts,
        retry: Retry,
        dead_letters: DeadLetters,
        settings: IndexSettings,
        inference: Inference,
        *,
        other: Inference | None = None,
        buckets: Collection[str] | None = None,
        verify: Verify = unverified,
    ) -> None:
        self._ports = ports
        self._retry = retry
        self._dead_letters = dead_letters
        self._settings = settings
        self._buckets = buckets
        self._inference = inference
        self._verify = verify
        self._other = other
        self._rules = Rules(
            ports.limits, inference.model_name, settings.max_attempts, other.model_name if other else None
        )
        self._fetching = asyncio.Semaphore(settings.concurrency)
        self._in_flight: dict[ContentId, asyncio.Future[None]] = {}
        self._progress: list[_Progress] = []
        self._decisions: set[asyncio.Task[steps.Decided]] = set()
        self._stopping = False

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Converge each content that the messages name, once. Raises Outage when one outlasts the retry budget."""
        waiting = await self._parse(deliveries)
        while waiting:
            free = {content_id: hint for content_id, hint in waiting.items() if content_id not in self._in_flight}
            if free:
                await self._claimed(free)
            waiting = {content_id: hint for content_id, hint in waiting.items() if content_id not in free}
            if others := {self._in_flight[content_id] for content_id in waiting if content_id in self._in_flight}:
                await asyncio.wait(others)
        await self._ports.reached(Step.BATCH_HANDLED)

    async def refund_unfinished(self) -> None:
        """Take the attempts back that this worker has begun and will not end, for it is about to stop.

        No more are begun from now on. Those that are just being begun are waited for, so that they are known.
        """
        self._stopping = True
        if self._decisions:
            await asyncio.wait(self._decisions, timeout=DECISIONS_END_S)
        begun = [content for progress in self._progress for content in progress.begun.values()]
        for progress in self._progress:
            progress.begun.clear()
        with suppress(Outage):
            await steps.refund(begun, self._ports.catalog)

    async def _parse(self, deliveries: Sequence[Delivery]) -> Batch:
        """What the messages ask for. What is about a bucket that isn't ours any more stays on the to-do list in SQL."""
        batch: dict[ContentId, ContentHint] = {}
        for delivery in deliveries:
            try:
                message = ContentChanged.decode(delivery.value)
            except MalformedMessage as error:
                await self._dead_letters.put_aside(delivery, error)
                continue
            if self._buckets is not None and message.bucket not in self._buckets:
                metrics.CONTENTS.labels("foreign_bucket").inc()
                continue
            earlier = batch.get(message.content_id)
            batch[message.content_id] = ContentHint(message.merged(earlier.message) if earlier else message, delivery)
        return batch

    async def _claimed(self, batch: Batch) -> None:
        """Handle contents while no other batch of this worker does."""
        done = asyncio.get_running_loop().create_future()
        self._in_flight |= dict.fromkeys(batch, done)
        try:
            await self._converge(batch)
        finally:
            for content_id in batch:
                del self._in_flight[content_id]
            done.set_result(None)

    async def _converge(self, batch: Batch) -> None:
        progress = await self._attempted(batch)
        for content_id, settled in progress.settled.items():
            await self._conclude(settled, batch[content_id])
        for content_id in batch:
            if content_id in progress.suspects or content_id in progress.failures:
                await self._converge_alone(batch[content_id])

    async def _converge_alone(self, hint: ContentHint) -> None:
        """One content by itself, until it is done or its attempts are used up; then it is a dead letter too."""
        with tracing.within(hint.delivery.trace):
            await self._converge_until_done(hint)

    async def _converge_until_done(self, hint: ContentHint) -> None:
        content_id = hint.message.content_id
        failure: Exception | None = None
        for attempt in range(1, self._settings.max_attempts + 2):
            progress = await self._attempted({content_id: hint}, suspects_too=True)
            if content_id not in progress.failures:
                await self._conclude(progress.settled[content_id], hint, failure)
                return
            failure = progress.failures[content_id]
            log.error(
                "content_failed", bucket=content_id.bucket, sha256=content_id.sha256, attempt=attempt, exc_info=failure
            )
        assert failure is not None  # There is at least one attempt.
        await self._dead_letters.put_aside(hint.delivery, failure, attempts=self._settings.max_attempts)

    async def _attempted(self, batch: Batch, *, suspects_too: bool = False) -> _Progress:
        """All steps for a batch, each by halves where it meets a bug. Raises Outage beyond the retry budget."""
        progress = _Progress()
        self._progress.append(progress)
        try:
            await self._decide(batch, progress, suspects_too=suspects_too)
            await self._fetch_and_embed(batch, progress)
            await self._store(progress)
            await self._look_at_nearest(progress)
            await self._record(progress)
            await self._settle(batch, progress)
        except (Outage, ModelsChanged) as error:
            with suppress(Outage, ModelsChanged):
                await steps.refund(progress.begun.values(), self._ports.catalog)
                if isinstance(error, ModelsChanged):
                    await steps.discard(
                        [item.content for item in progress.prepared], self._ports.catalog, self._ports.served
                    )
            raise
        finally:
            self._progress.remove(progress)
        return progress

    async def _decide(self, batch: Batch, progress: _Progress, *, suspects_too: bool) -> None:
        async def decide(part: Collection[ContentId]) -> None:
            messages = [batch[content_id].message for content_id in part]
            decided = await self._known_decision(messages, progress, suspects_too=suspects_too)
            progress.suspects |= set(decided.suspects)
            lost = await self._carried_out(messages, decided, progress)
            if lost:
                await decide(lost)

        await self._by_halves(list(batch), decide, progress)

    async def _known_decision(
        self, messages: Sequence[ContentChanged], progress: _Progress, *, suspects_too: bool
    ) -> steps.Decided:
        """Decide, and note which attempts have begun; a worker that is about to stop begins none."""
        if self._stopping:
            await asyncio.Event().wait()  # Until it is cut off.

        async def decide() -> steps.Decided:
            decided = await self._retry.run(
                lambda: steps.decide(messages, self._ports.deciding, self._rules, suspects_too=suspects_too)
            )
            progress.begun |= {content_id: decided.rows[content_id] for content_id in decided.begun}
            return decided

        decision = asyncio.create_task(decide())
        self._decisions.add(decision)
        decision.add_done_callback(self._decisions.discard)
        return await decision

    async def _carried_out(
        self, messages: Sequence[ContentChanged], decided: steps.Decided, progress: _Progress
    ) -> list[ContentId]:
        """Do what was decided, up to what has to be embedded; the contents whose vector is lost, to decide again."""
        rows, ports, run = decided.rows, self._ports, self._retry.run
        of = {state: [row for row in rows.values() if row.state is state] for state in ContentState}
        await run(lambda: steps.delete_retired(rows.values(), ports.deciding))
        await run(lambda: steps.remove(of[ContentState.DELETING], ports.deciding))
        refused = of[ContentState.REJECTED]
        # A rejected content has no vector; one may be left from before.
        await run(lambda: ports.served.delete([row.vector_id for row in refused]))
        verifying = {message.content_id for message in messages if message.verify}
        doubted = [row for row in of[ContentState.INDEXED] if row.id in verifying]
        lost = {row.id for row in await run(lambda: steps.without_vector(doubted, ports.deciding))}
        await run(lambda: steps.without_other_vector(doubted, ports.catalog, ports.served.other, self._rules))
        for message in messages:
            content_id = message.content_id
            row = rows.get(content_id)
            if row is None:
                if content_id not in decided.suspects:
                    progress.settled[content_id] = Settled(content_id, ContentOutcome.ABSENT)
            elif content_id in decided.begun and content_id not in lost:
                progress.attempts[content_id] = Attempt(row, decided.references[content_id][0])
            elif content_id not in lost:
                progress.settled[content_id] = _settled(row)
        return sorted(lost)

    async def _fetch_and_embed(self, batch: Batch, progress: _Progress) -> None:
        """Fetch, decode and embed, so many at a time that with their views they are no more pictures than a batch has
        without: no more pixels are held.
        """
        layouts = await self._layouts() if progress.attempts else []
        attempts, views = list(progress.attempts.values()), max((VIEWS[each] for each in layouts), default=0)
        at_once = max(1, self._settings.batch_size // (1 + views)) if views else len(attempts)
        for part in batched(attempts, at_once or 1):
            prepared = await self._fetch(batch, part, layouts, progress)
            progress.prepared += [item.without_pixels() for item in await self._embed(prepared, progress)]
        await self._ports.reached(Step.CONTENT_EMBEDDED)

    async def _layouts(self) -> list[ViewLayout]:
        """The views that there are for each model, that in use first."""
        served = self._ports.served
        collections = [served.in_use, *([served.other] if served.other else [])]
        return [await self._retry.run(vectors.layout) for vectors in collections]

    async def _fetch(
        self, batch: Batch, attempts: Sequence[Attempt], layouts: Sequence[ViewLayout], progress: _Progress
    ) -> list[Prepared]:
        """Fetch and decode each content by itself; several batches share the slots."""
        prepared: list[Prepared] = []

        async def one(attempt: Attempt) -> Prepared | Refused | Exception | None:
            async with self._fetching:
                try:
                    decode = self._decode_for(attempt, layouts)
                    with tracing.within(batch[attempt.content.id].delivery.trace):
                        return await self._retry.run(lambda: steps.fetch(attempt, self._ports.fetching, decode))
                except (Outage, ModelsChanged):
                    raise
                except Exception as error:
                    return error

        results = await side_by_side((one(attempt) for attempt in attempts), limit=len(attempts) or 1)
        for attempt, result in zip(attempts, results, strict=True):
            match result:
                case Prepared():
                    prepared.append(result)
                case Refused() if attempt.is_new:
                    progress.refused.append(result)
                case Refused():
                    # It is indexed, and can't be brought over as things are: whoever switches the models counts those.
                    log.warning("content_not_brought_over", sha256=attempt.content.sha256, reason=str(result.reason))
                    progress.waiting.append(attempt.content)
                case Exception():
                    self._failed(attempt.content.id, result, progress)
                case None:
                    progress.waiting.append(attempt.content)
        return prepared

    def _decode_for(self, attempt: Attempt, layouts: Sequence[ViewLayout]) -> steps.Decode:
        """Decode for the models that are to embed this content, the one in use first."""
        models = [(self._inference, layouts[0])] if attempt.is_new else []
        models += [(self._other, layouts[-1])] if self._other is not None else []

        async def decode(data: bytes) -> Sequence[DecodedImage]:
            (first, first_layout), *others = models
            images = [await first.decode(data, first_layout)]
            for model, layout in others:
                same = (model.pixel_spec, layout) == (first.pixel_spec, first_layout)
                images.append(images[0] if same else await model.decode(data, layout))
            return images

        return decode

    async def _embed(self, prepared: Sequence[Prepared], progress: _Progress) -> Sequence[Prepared]:
        """Embed by each of the models; what was given."""

        async def embed(part: Sequence[Prepared]) -> None:
            vectors = await _embedded([item.images[0] for item in part], self._inference)
            progress.vectors |= {item.content.id: each for item, each in zip(part, vectors, strict=True)}

        async def embed_other(part: Sequence[Prepared]) -> None:
            assert self._other is not None
            vectors = await _embedded([item.images[-1] for item in part], self._other)
            progress.other_vectors |= {item.content.id: each for item, each in zip(part, vectors, strict=True)}

        await self._by_halves([item for item in prepared if item.is_new], embed, progress)
        if self._other is not None:
            left = [item for item in prepared if not item.is_new or item.content.id in progress.vectors]
            await self._by_halves(left, embed_other, progress)
        return prepared

    async def _store(self, progress: _Progress) -> None:
        async def store(part: Sequence[Prepared]) -> None:
            others = [(item, progress.other_vectors[item.content.id]) for item in part if self._other is not None]
            await self._retry.run(lambda: steps.store_other(others, self._ports.served))
            entries = [(item, progress.vectors[item.content.id]) for item in part if item.is_new]
            if entries:
                progress.embedded += await self._retry.run(
                    lambda: steps.store(entries, self._ports.storing, self._settings.nearest)
                )
            progress.brought_over += [item for item in part if not item.is_new]

        made = progress.vectors if self._other is None else progress.other_vectors
        await self._by_halves([item for item in progress.prepared if item.content.id in made], store, progress)

    async def _look_at_nearest(self, progress: _Progress) -> None:
        """Find out which neighbours are copies; ``streams.index.nearest`` in a worker.

        A bug in that is told, and is no reason for a picture not to be found: its neighbours stay unverified.
        """
        stored, progress.embedded = progress.embedded, []

        async def look(part: Sequence[Embedded]) -> None:
            progress.embedded += await self._retry.run(lambda: self._verify(part))

        for item, error in await halving(stored, look):
            log.error("neighbours_not_verified", sha256=item.content.sha256, exc_info=error)
            progress.embedded.append(item)

    async def _record(self, progress: _Progress) -> None:
        async def refund(part: Sequence[ContentRecord]) -> None:
            await self._retry.run(lambda: steps.refund(part, self._ports.catalog))
            settle([Settled(content.id, ContentOutcome.WAITING) for content in part])

        async def reject(part: Sequence[Refused]) -> None:
            settle(await self._retry.run(lambda: steps.reject(part, self._ports.recording)))

        async def record(part: Sequence[Embedded]) -> None:
            settle(await self._retry.run(lambda: steps.record(part, self._ports.recording, self._rules)))

        async def record_other(part: Sequence[Prepared]) -> None:
            settle(await self._retry.run(lambda: steps.record_other(part, self._ports.recording, self._rules)))

        def settle(settled: Sequence[Settled]) -> None:
            for each in settled:
                progress.settled[each.content_id] = each
                progress.begun.pop(each.content_id, None)

        await self._by_halves(progress.waiting, refund, progress)
        await self._by_halves(progress.refused, reject, progress)
        await self._by_halves(progress.embedded, record, progress)
        await self._by_halves(progress.brought_over, record_other, progress)

    async def _settle(self, batch: Batch, progress: _Progress) -> None:
        """Say what there is to say before the mark on the to-do list is cleared."""

        async def settle(part: Sequence[ContentRecord]) -> None:
            await self._retry.run(lambda: steps.settle(part, self._ports.settling))

        known = [settled.content for settled in progress.settled.values() if settled.content is not None]
        await self._by_halves(known, settle, progress)

    async def _by_halves[T: (ContentId, ContentRecord, Prepared, Refused, Embedded)](
        self, items: Sequence[T], step: Callable[[Sequence[T]], Awaitable[None]], progress: _Progress
    ) -> None:
        for item, error in await halving(items, step):
            self._failed(_content_id(item), error, progress)

    def _failed(self, content_id: ContentId, error: Exception, progress: _Progress) -> None:
        """A bug: its attempt counts, and it is handled alone after the others."""
        progress.failures[content_id] = error
        progress.settled.pop(content_id, None)
        progress.begun.pop(content_id, None)

    async def _conclude(self, settled: Settled, hint: ContentHint, failure: Exception | None = None) -> None:
        attributes = {"twinlens.outcome": settled.outcome}
        with tracing.span("content converged", attributes, parent=hint.delivery.trace):
            await self._log_outcome(settled, hint, failure)

    async def _log_outcome(self, settled: Settled, hint: ContentHint, failure: Exception | None) -> None:
        content = settled.content
        if settled.outcome is ContentOutcome.GAVE_UP and content is not None:
            error = failure or RuntimeError(str(content.reason))
            await self._dead_letters.put_aside(hint.delivery, error, attempts=content.attempts)
        event_time = hint.message.event_time
        if settled.outcome is ContentOutcome.INDEXED and event_time is not None:
            passed = (self._ports.clock.now() - event_time).total_seconds()
            metrics.SEARCHABLE_SECONDS.observe(max(0.0, passed))
        metrics.CONTENTS.labels(settled.outcome).inc()
        bucket, sha256 = settled.content_id
        log.info("content_converged", bucket=bucket, sha256=sha256, outcome=str(settled.outcome))


async def _embedded(images: Sequence[DecodedImage], model: Inference) -> list[Embedding]:
    """The vectors of each picture, those of its views behind that of the whole; all in one batch."""
    vectors = iter(await model.embed([pixels for image in images for pixels in (image.pixels, *image.views)]))
    return [list(islice(vectors, 1 + len(image.views))) for image in images]


def _content_id(item: ContentId | ContentRecord | Prepared | Refused | Embedded) -> ContentId:
    if isinstance(item, ContentId):
        return item
    return item.id if isinstance(item, ContentRecord) else item.content.id


def _settled(row: ContentRecord) -> Settled:
    """The outcome for a row that needed no attempt."""
    match row.state:
        case ContentState.DELETING:
            return Settled(row.id, ContentOutcome.REMOVED)
        case ContentState.INDEXED:
            return Settled(row.id, ContentOutcome.UNCHANGED, row)
    gave_up = row.reason is not None and row.reason.slug == GAVE_UP and row.dirty_since is not None
    return Settled(row.id, ContentOutcome.GAVE_UP if gave_up else ContentOutcome.REJECTED, row)
