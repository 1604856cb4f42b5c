"""Traces: the spans that work is made of, and the trace that it belongs to. Off, each call asks one question.

What carries a trace from process to process is a text, ``traceparent`` (W3C Trace Context): in the headers of Kafka
messages, and in the metadata of an object that a request stored. Whatever is no valid one counts as none.
``ops.tracing`` switches traces on and sends them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Literal, Protocol

TRACEPARENT: Final = "traceparent"
"""The name of the header, and of an object's user metadata."""
_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

type Kind = Literal["internal", "server", "consumer"]
type Attributes = Mapping[str, str | int | float | bool]


class Tracer(Protocol):
    """Makes spans. The real one is in ``ops.tracing``."""

    def span(
        self, name: str, *, kind: Kind, parent: str | None, fresh: bool, links: Sequence[str], attributes: Attributes
    ) -> AbstractContextManager[object]:
        """A span that is the current one within the block.

        It belongs to the trace of ``parent``, else to that of the current span; to a new one if it is ``fresh``.
        """

    def within(self, traceparent: str) -> AbstractContextManager[object]:
        """Make a span of elsewhere the current one within the block."""

    def current(self) -> str | None:
        """The traceparent of the current span, or None."""

    def note(self, attributes: Attributes) -> None:
        """Add to the current span's attributes."""

    def rename(self, name: str) -> None:
        """Call the current span by what became known of it."""


class _Switch:
    """Whether this process traces."""

    tracer: Tracer | None = None


def trace_by(tracer: Tracer | None) -> None:
    """Trace by this from now on; None: not at all."""
    _Switch.tracer = tracer


def is_on() -> bool:
    """Whether this process traces."""
    return _Switch.tracer is not None


def valid(text: str | bytes | None) -> str | None:
    """The text if it is a traceparent, else None: a stranger may have written it."""
    if isinstance(text, bytes):
        text = text.decode("ascii", errors="replace")
    return text if text is not None and _FORM.fullmatch(text) else None


def trace_id(traceparent: str) -> str:
    """The 32 hexadecimal digits that name a trace."""
    return traceparent.split("-")[1]


def span_id(traceparent: str) -> str:
    """The 16 hexadecimal digits that name a span."""
    return traceparent.split("-")[2]


def current() -> str | None:
    """The traceparent of what is being done, or None."""
    return _Switch.tracer.current() if _Switch.tracer is not None else None


@contextmanager
def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    kind: Kind = "internal",
    parent: str | None = None,
    fresh: bool = False,
    links: Sequence[str] = (),
) -> Iterator[None]:
    """Have a block be one span of the trace of ``parent``, else of the current one. It ends as failed if it raises.

    A span that leaves the current one's trace for its parent's is linked to the current one.
    """
    tracer = _Switch.tracer
    if tracer is None:
        yield
        return
    around = tracer.current() if parent is not None else None
    if parent is not None and around is not None and trace_id(around) != trace_id(parent):
        links = [*links, around]
    with tracer.span(name, kind=kind, parent=parent, fresh=fresh, links=links, attributes=attributes or {}):
        yield


@contextmanager
def within(traceparent: str | None) -> Iterator[None]:
    """Have what is done in the block belong to this span; with None nothing changes."""
    if _Switch.tracer is None or traceparent is None:
        yield
        return
    with _Switch.tracer.within(traceparent):
        yield


def note(attributes: Attributes) -> None:
    """Add to the current span's attributes."""
    if _Switch.tracer is not None:
        _Switch.tracer.note(attributes)


def rename(name: str) -> None:
    """Call the current span by what became known of it."""
    if _Switch.tracer is not None:
        _Switch.tracer.rename(name)
