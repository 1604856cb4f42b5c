"""One trace from PUT to searchable: what belongs to it, how it travels, and what does it no harm."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ops.tracing import QUEUE_SPANS, OpenTelemetryTracer
from schemas import tracing
from schemas.messages import bucket_event, parse_bucket_event
from schemas.records import ObjectRef
from schemas.tracing import TRACEPARENT
from stores.broker.memory import MemoryOutbox
from stores.broker.ports import OutgoingMessage
from streams.common import metrics
from streams.common.deliveries import Delivery, dead_letter
from streams.common.tracing import Traced, TracedOutbox, trace_of_event
from tests.harness.installation import BUCKET
from tests.harness.pictures import picture
from tests.unit.reconcile.installation import Reconciled
from tests.unit.spans import GIVEN, Spans, parent_of, traced

MALFORMED = [
    b"",
    b"nonsense",
    b"\xff\xfe",
    b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
    b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
    b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
    b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    GIVEN.encode() + b"\n",
    GIVEN.encode() * 1000,
]


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Traces, on for one test."""
    with traced() as spans:
        yield spans


class Announced(Reconciled):
    """An installation whose bucket announces what is put, and whose messages carry traces."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = self.outbox
        self.ports = replace(self.ports, outbox=TracedOutbox(self.kept))

    async def announce(self, key: str, seed: int, *, headers: dict[str, bytes] | None = None) -> None:
        """Put a picture, and send what the object store sends of it."""
        self.put(key, picture(seed))
        event = bucket_event(ObjectRef(BUCKET, key), event_name="s3:ObjectCreated:Put", event_time=self.clock.now())
        message = OutgoingMessage(self.ports.topics.bucket_events, key.encode(), event, headers or {})
        await self.kept.send([message])


def trace_ids(messages: Sequence[OutgoingMessage]) -> list[str]:
    """The trace that each message carries."""
    found = [tracing.valid(message.headers.get(TRACEPARENT)) for message in messages]
    assert None not in found
    return [tracing.trace_id(trace) for trace in found if trace is not None]


async def test_one_trace_from_put_to_searchable(spans: Spans) -> None:
    """A picture's announcement, object, content and publishing are parts of one trace, each of its cause."""
    installation = Announced()
    await installation.announce("a.png", 1)
    await installation.work()
    [content] = installation.kept.to(installation.ports.topics.contents)
    [trace] = trace_ids([content])
    found = spans.of_trace(trace)
    ingest, index = found["process t.bucket-events"], found["process t.contents"]
    assert parent_of(ingest) is None
    assert parent_of(index) == ingest.context.span_id
    assert {"download", "decode", "embed", "vector", "sql"} <= set(found)
    assert parent_of(found["decode"]) == index.context.span_id
    assert found["content converged"].attributes == {"twinlens.outcome": "indexed"}
    assert trace_ids(installation.kept.to(installation.ports.topics.image_changes)) == [trace]
    assert {f"{span.context.trace_id:032x}" for span in spans.all} == {trace}


async def test_pictures_of_one_batch_keep_their_own_traces(spans: Spans) -> None:
    """What is done for a batch as a whole is in one span, linked to each picture's, which has a trace of its own."""
    installation = Announced()
    for seed in range(3):
        await installation.announce(f"{seed}.png", seed)
    await installation.work()
    traces = trace_ids(installation.kept.to(installation.ports.topics.contents))
    assert len(set(traces)) == 3
    for trace in traces:
        found = spans.of_trace(trace)
        assert parent_of(found["process t.contents"]) == found["process t.bucket-events"].context.span_id
        assert parent_of(found["decode"]) == found["process t.contents"].context.span_id
        assert found["content converged"].attributes == {"twinlens.outcome": "indexed"}
    [batch] = spans.named("batch t.contents")
    assert {f"{link.context.trace_id:032x}" for link in batch.links} == set(traces)
    [embed] = spans.named("embed")
    assert parent_of(embed) == batch.context.span_id
    assert all(span.links[0].context.span_id == batch.context.span_id for span in spans.named("content converged"))


async def test_a_given_trace_is_continued(spans: Spans) -> None:
    """A message that brings a traceparent is part of that trace, and so is all that follows."""
    installation = Announced()
    await installation.announce("a.png", 1, headers={TRACEPARENT: GIVEN.encode()})
    await installation.work()
    found = spans.of_trace(tracing.trace_id(GIVEN))
    assert parent_of(found["process t.bucket-events"]) == int(tracing.span_id(GIVEN), 16)
    assert found["content converged"].attributes == {"twinlens.outcome": "indexed"}


@pytest.mark.parametrize("header", MALFORMED)
async def test_a_malformed_traceparent_harms_nothing(spans: Spans, header: bytes) -> None:
    """It counts as none: the picture is indexed, in a trace of its own."""
    installation = Announced()
    await installation.announce("a.png", 1, headers={TRACEPARENT: header})
    await installation.work()
    assert installation.agrees()
    [converged] = spans.named("content converged")
    assert f"{converged.context.trace_id:032x}" != tracing.trace_id(GIVEN)


@pytest.mark.usefixtures("spans")
async def test_a_dead_letter_carries_the_trace() -> None:
    """What can't be understood is put aside with the trace in which it failed, so that its replay is part of it."""
    installation = Announced()
    headers = {TRACEPARENT: GIVEN.encode(), "own": b"1"}
    await installation.kept.send([OutgoingMessage(installation.ports.topics.bucket_events, b"k", b"{", headers)])
    await installation.work()
    [letter] = installation.kept.to(installation.ports.topics.dead_letters)
    assert trace_ids([letter]) == [tracing.trace_id(GIVEN)]
    assert letter.headers["own"] == b"1"


def test_without_traces_headers_pass_through_unchanged() -> None:
    """A process that does not trace keeps what a dead letter brought along."""
    headers = {TRACEPARENT: GIVEN.encode()}
    delivery = Delivery("t", 0, 0, None, b"", headers)
    letter = dead_letter(delivery, "d", "ingest", ValueError(), 1, Reconciled().clock.now(), 10**6)
    assert letter.headers[TRACEPARENT] == GIVEN.encode()


async def test_without_traces_a_given_one_is_passed_on() -> None:
    """So that a trace is whole though one of the processes on its way does not trace."""
    installation = Announced()
    await installation.announce("a.png", 1, headers={TRACEPARENT: GIVEN.encode()})
    await installation.work()
    [content] = installation.kept.to(installation.ports.topics.contents)
    assert content.headers == {TRACEPARENT: GIVEN.encode()}


async def test_a_failed_batch_is_tried_again_in_the_same_trace(spans: Spans) -> None:
    """A redelivered message has its header still: both tries are parts of the trace."""

    class Failing:
        tries = 0

        async def handle(self, deliveries: Sequence[Delivery]) -> None:
            self.tries += 1
            if self.tries == 1:
                raise RuntimeError("secret")

    traced = Traced(Failing())
    delivery = Delivery("t", 0, 7, b"key", b"", {TRACEPARENT: GIVEN.encode()})
    with pytest.raises(RuntimeError):
        await traced.handle([delivery])
    await traced.handle([delivery])
    tries = spans.named("process t")
    assert [f"{span.context.trace_id:032x}" for span in tries] == [tracing.trace_id(GIVEN)] * 2
    assert [span.status.is_ok for span in tries] == [False, True]
    assert "secret" not in " ".join(span.to_json() for span in tries)


def test_the_announcement_of_a_requests_object_tells_its_trace() -> None:
    """MinIO announces the metadata that a request left; only a PUT's are its own."""
    ref = ObjectRef(BUCKET, "a.png")
    event = json.loads(bucket_event(ref, event_name="s3:ObjectCreated:Put", event_time=Reconciled().clock.now()))
    told: Any = event["Records"][0]
    told["s3"]["object"]["userMetadata"] = {"X-Amz-Meta-Traceparent": GIVEN, "content-type": "image/png"}
    delivery = Delivery("t", 0, 0, None, json.dumps(event).encode(), {})
    assert trace_of_event(delivery) == GIVEN
    told["eventName"] = "s3:ObjectCreated:Copy"
    assert trace_of_event(replace(delivery, value=json.dumps(event).encode())) is None
    for odd in ("nonsense", 5, None, ["x"]):
        told |= {"eventName": "s3:ObjectCreated:Put"}
        told["s3"]["object"]["userMetadata"] = {"X-Amz-Meta-Traceparent": odd}
        assert parse_bucket_event(json.dumps(event).encode())[0].trace is None
    told["s3"]["object"]["userMetadata"] = "no map"
    assert parse_bucket_event(json.dumps(event).encode())[0].trace is None


class Away(SpanExporter):
    """A collector that never answers."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Fail, as a connection that is refused does."""
        raise ConnectionError("nobody listens")

    def shutdown(self) -> None:
        """Nothing is open."""


def test_a_collector_that_is_away_harms_nothing() -> None:
    """Spans beyond the queue's length are dropped; nobody waits for the others, also not at the end."""
    tracer = OpenTelemetryTracer(Away(), 1, "test")
    tracing.trace_by(tracer)
    try:
        for _ in range(QUEUE_SPANS + 1000):
            with metrics.stage("sql"):
                pass
    finally:
        tracing.trace_by(None)
        tracer.close()


def test_the_share_is_the_same_in_every_process() -> None:
    """Which traces are kept is told by their ids, whatever a stranger's traceparent says."""
    for share, kept in ((0, 0), (1, 1)):
        exporter = InMemorySpanExporter()
        tracer = OpenTelemetryTracer(exporter, share, "test")
        tracing.trace_by(tracer)
        try:
            with tracing.span("one", parent=GIVEN):
                pass
            tracer.flush()
        finally:
            tracing.trace_by(None)
            tracer.close()
        assert len(exporter.get_finished_spans()) == kept


async def test_off_nothing_is_added_to_messages() -> None:
    """Without traces a message leaves as it was made."""
    kept = MemoryOutbox()
    await TracedOutbox(kept).send([OutgoingMessage("t", None, b"x")])
    assert kept.sent == [OutgoingMessage("t", None, b"x")]


def test_ids_are_parts_of_the_text() -> None:
    """A traceparent names a trace and a span."""
    assert (tracing.trace_id(GIVEN), tracing.span_id(GIVEN)) == (GIVEN[3:35], GIVEN[36:52])
