"""Sending traces: OpenTelemetry's SDK behind ``schemas.tracing``. Imported only where ``tracing.endpoint`` is set."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from threading import Event, Thread

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
    use_span,
)

from schemas import tracing
from schemas.settings import TracingSettings
from schemas.tracing import Attributes, Kind, span_id, trace_id

QUEUE_SPANS = 4096
"""Spans that wait to be sent; while the collector is away, the oldest of them are dropped."""
BATCH_SPANS = 512
EXPORT_TIMEOUT_S = 5.0
"""For one batch, with the further attempts at it."""
END_WITHIN_S = 3.0
"""How long a process that ends waits for its last spans to be sent."""


def start_tracing(settings: TracingSettings, role: str) -> None:
    """Send this process's traces to ``tracing.endpoint`` from now on, and what waits when it ends."""
    exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=EXPORT_TIMEOUT_S)
    tracer = OpenTelemetryTracer(exporter, settings.share, role)
    tracing.trace_by(tracer)
    atexit.register(tracer.close)


class OpenTelemetryTracer(tracing.Tracer):
    """Makes OpenTelemetry's spans, and sends them from a thread of its own.

    Which traces are kept is told by their ids alone, the same in every process: whoever brings a traceparent along
    can't have more kept than ``share`` (0 to 1) says.
    """

    def __init__(self, exporter: SpanExporter, share: float, role: str) -> None:
        attributes = {
            "service.namespace": "twinlens",
            "service.name": f"twinlens-{role}",
            "service.version": version("twinlens"),
        }
        # The provider's own way to end would wait for half a minute for a collector that is away.
        self._provider = TracerProvider(TraceIdRatioBased(share), Resource.create(attributes), shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUE_SPANS, max_export_batch_size=BATCH_SPANS)
        )
        self._tracer = self._provider.get_tracer("twinlens")
        self._ending, self._ended = Event(), Event()
        # It waits from the beginning: as the interpreter ends, no thread can be started any more.
        Thread(target=self._end, name="last-spans", daemon=True).start()

    @contextmanager
    def span(
        self, name: str, *, kind: Kind, parent: str | None, fresh: bool, links: Sequence[str], attributes: Attributes
    ) -> Iterator[None]:
        """See Tracer. Of an error only its type is told: its text may hold anything."""
        around = Context() if fresh else None
        with self._tracer.start_as_current_span(
            name,
            context=around if parent is None else set_span_in_context(_elsewhere(parent)),
            kind=SpanKind[kind.upper()],
            attributes=dict(attributes),
            links=[Link(_context(link)) for link in links],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise

    def within(self, traceparent: str) -> AbstractContextManager[object]:
        """See Tracer."""
        return use_span(_elsewhere(traceparent))

    def current(self) -> str | None:
        """See Tracer."""
        context = get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def note(self, attributes: Attributes) -> None:
        """See Tracer."""
        get_current_span().set_attributes(dict(attributes))

    def rename(self, name: str) -> None:
        """See Tracer."""
        get_current_span().update_name(name)

    def flush(self) -> None:
        """Wait until what was traced so far is sent, some seconds at most."""
        self._provider.force_flush(int(EXPORT_TIMEOUT_S * 1000))

    def close(self) -> None:
        """Send what waits, for ``END_WITHIN_S`` seconds at most."""
        self._ending.set()
        self._ended.wait(END_WITHIN_S)

    def _end(self) -> None:
        self._ending.wait()
        self._provider.shutdown()
        self._ended.set()


def _context(traceparent: str) -> SpanContext:
    flags = TraceFlags(int(traceparent[-2:], 16))
    return SpanContext(int(trace_id(traceparent), 16), int(span_id(traceparent), 16), is_remote=True, trace_flags=flags)


def _elsewhere(traceparent: str) -> NonRecordingSpan:
    """A span of another process, or one that is not ours to end."""
    return NonRecordingSpan(_context(traceparent))
