"""What a process has traced, for tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ops.tracing import OpenTelemetryTracer
from schemas import tracing

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""A traceparent of elsewhere."""


class Spans:
    """What a process has traced."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer = OpenTelemetryTracer(self.exporter, 1, "test")

    @property
    def all(self) -> Sequence[ReadableSpan]:
        """Every span that has ended."""
        self.tracer.flush()
        return self.exporter.get_finished_spans()

    def of_trace(self, trace_id: str) -> dict[str, ReadableSpan]:
        """The spans of one trace by their names."""
        return {span.name: span for span in self.all if f"{span.context.trace_id:032x}" == trace_id}

    def named(self, name: str) -> list[ReadableSpan]:
        """All spans of a name."""
        return [span for span in self.all if span.name == name]


@contextmanager
def traced() -> Iterator[Spans]:
    """Have everything in the block traced."""
    spans = Spans()
    tracing.trace_by(spans.tracer)
    try:
        yield spans
    finally:
        tracing.trace_by(None)
        spans.tracer.close()


def parent_of(span: ReadableSpan) -> int | None:
    """The id of the span that it is a part of."""
    return span.parent.span_id if span.parent else None
