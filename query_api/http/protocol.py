"""uvicorn's HTTP protocol with bounds on the head of a request, which its parser has none for.

A reverse proxy has such bounds too; these hold where there is none.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 32 * 1024
"""Address and headers of a request together; so many bytes of trailers, too, where a body has some."""
MAX_HEADERS = 100
HEAD_TIMEOUT_S = 10.0
"""From the connection, or the first byte of a further request, to the end of its headers."""
MAX_CONNECTIONS = 2048
UNREAD_PAUSE_S = 0.025
"""Between two looks at what a client goes on to send after its answer: with uvloop's 256 kB each, some 10 MB a second.

It is thrown away, and a client must get its answer before its connection is ended; but megabytes that come at once are
work which others wait for.
"""
_STEP = 16 * 1024
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class _HeadTooLarge(Exception):
    """Raised into the parser, which gives up."""


class BoundedHttp(HttpToolsProtocol):
    """Ends a connection whose request's head is too large, has too many headers or comes too slowly."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unframed = 0
        self._in_body = False
        self._headers_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuses what is too many."""
        super().connection_made(transport)
        self._set_deadline()
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to wait for."""
        self._lift_deadline()
        if self._pause is not None:
            self._pause.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse by steps. What becomes neither body nor a whole head, the parser keeps: it has to stay small.

        In the middle of a body the step is all that came, which is much cheaper.
        """
        step = max(len(data), 1) if self._in_body else _STEP
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            self._unframed += len(piece)
            super().data_received(piece)
            if self.transport.is_closing():
                return
            if self._unframed > MAX_HEAD_BYTES + _STEP:
                self._refuse()
                return
        if self._in_body and self.cycle.response_complete:
            self.flow.pause_reading()
            self._pause = self.loop.call_later(UNREAD_PAUSE_S, self._read_on)

    def send_400_response(self, msg: str) -> None:
        """Called for what can't be parsed."""
        if self._headers_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._headers_bytes = 0
        self._set_deadline()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or a trailer."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._lift_deadline()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._unframed = 0
        self._in_body = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        self._unframed = 0
        self._in_body = False
        self._lift_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A client that got its answer may send the rest of its body, but not for ever."""
        unread = self.cycle.more_body
        super().on_response_complete()
        if unread:
            self._set_deadline()

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _count(self, count: int) -> None:
        self._headers_bytes += count
        if self._headers_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            raise _HeadTooLarge

    def _refuse(self) -> None:
        self.transport.write(_TOO_LARGE)
        self.transport.close()

    def _set_deadline(self) -> None:
        self._lift_deadline()
        self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _lift_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
