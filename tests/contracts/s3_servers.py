"""Servers that stand for an S3 server, or between one and its client, and note what is asked of them."""

from __future__ import annotations

import asyncio
import re
import socketserver
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field

from schemas.settings import ObjectSettings

_REQUEST_LINE = re.compile(rb"^([A-Z]+) \S+ HTTP/1\.1\r$", re.MULTILINE)


@contextmanager
def answering(answer: bytes, *, to_head: bytes | None = None) -> Iterator[ObjectSettings]:
    """Settings of a server that gives the same answer to every request, or another one to a HEAD, and hangs up."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            is_head = self.rfile.readline().startswith(b"HEAD")
            while self.rfile.readline().strip():
                pass
            self.wfile.write(to_head if is_head and to_head is not None else answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield ObjectSettings(endpoint=f"127.0.0.1:{server.server_address[1]}", timeout_s=2)
        server.shutdown()
        thread.join()


@dataclass
class Line:
    """What a server of this module saw: what clients said, and the connections that they opened and left."""

    endpoint: str = ""
    said: bytearray = field(default_factory=bytearray)
    opened: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, data: bytes) -> None:
        """Note these bytes of a client."""
        self.said += data
        self.asked.set()

    @property
    def methods(self) -> list[str]:
        """The methods of all requests so far."""
        return [found[1].decode() for found in _REQUEST_LINE.finditer(self.said)]

    def header(self, name: str) -> list[str]:
        """The values of a header in all requests so far."""
        lines = [line.partition(":") for line in self.said.decode("latin-1").split("\r\n")]
        return [value.strip() for found, _, value in lines if found.lower() == name.lower()]


@asynccontextmanager
async def stalling(answer: bytes) -> AsyncIterator[Line]:
    """A server that sends these bytes after each request's and then nothing, until its client leaves."""
    line = Line()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line.opened += 1
        with closing(writer):
            while data := await reader.read(2**16):
                writer.write(answer)
                line.note(data)
            line.left.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        line.endpoint = "{}:{}".format(*server.sockets[0].getsockname())
        yield line


@asynccontextmanager
async def relayed(address: str) -> AsyncIterator[Line]:
    """A way to the server at ``address`` (host:port) that notes what goes along."""
    line = Line()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, noted: bool) -> None:
        with closing(writer):
            while data := await reader.read(2**16):
                if noted:
                    line.note(data)
                writer.write(data)
                await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line.opened += 1
        from_server, to_server = await asyncio.open_connection(*address.split(":"))
        await asyncio.gather(
            pump(reader, to_server, noted=True), pump(from_server, writer, noted=False), return_exceptions=True
        )

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        line.endpoint = "{}:{}".format(*server.sockets[0].getsockname())
        yield line
