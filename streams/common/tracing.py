"""How the workers' messages carry traces: a span for each message, one for a batch of several, and headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from schemas import tracing
from schemas.errors import MalformedMessage
from schemas.messages import parse_bucket_event
from schemas.tracing import TRACEPARENT, Attributes
from stores.broker.ports import Outbox, OutgoingMessage
from streams.common.deliveries import Delivery, Handler

KEY_KEPT = 256
"""Characters of a message's key that its span tells."""


def trace_of_message(delivery: Delivery) -> str | None:
    """The trace that a message brings along in its header."""
    return delivery.trace


def trace_of_event(delivery: Delivery) -> str | None:
    """The trace of a bucket event: that of its header, else that of the request which stored the object."""
    if delivery.trace is not None:
        return delivery.trace
    try:
        hints = parse_bucket_event(delivery.value)
    except MalformedMessage:
        return None
    return next((hint.trace for hint in hints if hint.trace is not None), None)


@dataclass(frozen=True, slots=True)
class Traced(Handler):
    """Handles batches with a span for each message, which becomes the trace in its header.

    A message without a trace begins one. What is done for a batch of several is in a span of its own trace, which is
    linked to those of its messages.
    """

    handler: Handler
    parent: Callable[[Delivery], str | None] = trace_of_message

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """See Handler."""
        if not tracing.is_on():
            await self.handler.handle(deliveries)
            return
        with ExitStack() as spans:
            traced = [self._begun(delivery, spans) for delivery in deliveries]
            if len(traced) > 1:
                links = [delivery.trace for delivery in traced if delivery.trace is not None]
                attributes = {"messaging.batch.message_count": len(traced)}
                name = f"batch {traced[0].topic}"
                spans.enter_context(tracing.span(name, attributes, kind="consumer", fresh=True, links=links))
            await self.handler.handle(traced)

    def _begun(self, delivery: Delivery, spans: ExitStack) -> Delivery:
        parent = self.parent(delivery)
        attributes = _attributes(delivery)
        name = f"process {delivery.topic}"
        spans.enter_context(tracing.span(name, attributes, kind="consumer", parent=parent, fresh=parent is None))
        return replace(delivery, headers=with_trace(delivery.headers, tracing.current()))


def _attributes(delivery: Delivery) -> Attributes:
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.destination.name": delivery.topic,
        "messaging.destination.partition.id": str(delivery.partition),
        "messaging.kafka.offset": delivery.offset,
    }
    if delivery.key is not None:
        attributes["messaging.kafka.message.key"] = delivery.key.decode(errors="replace")[:KEY_KEPT]
    return attributes


def with_trace(headers: Mapping[str, bytes], trace: str | None) -> dict[str, bytes]:
    """Headers that carry this trace."""
    return dict(headers) if trace is None else {**headers, TRACEPARENT: trace.encode()}


@dataclass(frozen=True, slots=True)
class TracedOutbox(Outbox):
    """Sends each message with the trace in which it is sent, unless it has one."""

    outbox: Outbox

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        trace = tracing.current()
        if trace is not None:
            messages = [
                message
                if TRACEPARENT in message.headers
                else message._replace(headers=with_trace(message.headers, trace))
                for message in messages
            ]
        await self.outbox.send(messages)

    async def check(self) -> None:
        await self.outbox.check()
