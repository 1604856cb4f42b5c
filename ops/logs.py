"""Logging: structlog, JSON or console, on standard error; libraries' records take the same way."""

from __future__ import annotations

import logging
import sys
import time
from io import StringIO
from typing import Any, TextIO

import stamina.instrumentation
import structlog

from ops.terminal import visible
from schemas import tracing
from schemas.settings import LogSettings

QUIET_S = 30.0
"""A library that repeats itself is heard once in this time, with the count of what was left out."""

_NOISY = (
    *("aiokafka", "faust", "mode", "pymilvus", "urllib3", "asyncio", "grpc", "alembic", "uvicorn", "httpx"),
    "opentelemetry",
)


class RepetitionFilter(logging.Filter):
    """Lets each (logger, message template) of a library through once in ``QUIET_S`` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._heard: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is passed on."""
        if not record.name.startswith(_NOISY):
            return True
        template = str(record.msg)[:120]
        last, left_out = self._heard.get((record.name, template), (float("-inf"), 0))
        if time.monotonic() - last < QUIET_S:
            self._heard[record.name, template] = last, left_out + 1
            return False
        self._heard[record.name, template] = time.monotonic(), 0
        if left_out:
            record.left_out = left_out
        return True


def configure_logging(settings: LogSettings) -> None:
    """Set up structlog and the standard library's logging for this process."""
    # The workers log an outage once when it begins and once when it ends; a line per try would drown that.
    stamina.instrumentation.set_on_retry_hooks([])
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _with_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(["left_out"]),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepetitionFilter())
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(settings)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _with_trace(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Name the trace and the span that a line was written in, where there are traces."""
    trace = tracing.current()
    if trace is None:
        return event
    return {**event, "trace_id": tracing.trace_id(trace), "span_id": tracing.span_id(trace)}


def _rendering(settings: LogSettings) -> list[Any]:
    clean = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if settings.format == "json":
        return [clean, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        clean,
        _visible_event,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_visible_traceback),
    ]


def _visible_event(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Libraries put strangers' text into the message; ConsoleRenderer escapes other values."""
    return {**event, "event": visible(event["event"], lines=True)}


def _visible_traceback(file: TextIO, error: structlog.typing.ExcInfo) -> None:
    traceback = StringIO()
    structlog.dev.plain_traceback(traceback, error)
    file.write(visible(traceback.getvalue(), lines=True))
