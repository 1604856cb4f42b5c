"""A way to an HTTP server on which requests for one path get no answer."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class HangingWay:
    """Its address (host:port); ``hung`` is set by the first request without an answer, ``healed`` ends the hanging."""

    endpoint: str
    hung: threading.Event = field(default_factory=threading.Event)
    healed: threading.Event = field(default_factory=threading.Event)


@contextmanager
def hanging_for(path: str, address: str) -> Iterator[HangingWay]:
    """A way to the server at ``address`` (host:port), open until the block ends.

    A client's request line is taken to come in one piece, as it does from clients that send it as one.
    """
    host, port = address.split(":")
    asked = f" {path} HTTP/".encode()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((host, int(port))) as server:
                threading.Thread(target=_pump, args=(server, self.request), daemon=True).start()
                with suppress(OSError):
                    while data := self.request.recv(PIECE_BYTES):
                        if asked in data and not way.healed.is_set():
                            way.hung.set()
                        else:
                            server.sendall(data)

    class Way(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Way(("127.0.0.1", 0), Handler) as server:
        way = HangingWay("{}:{}".format(*server.server_address))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield way
        finally:
            server.shutdown()
            thread.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(PIECE_BYTES):
            target.sendall(data)
