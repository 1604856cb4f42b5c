"""What `twinlens search` searches with: files, the pictures in folders, URLs, standard input."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from ops.pictures import PathProblem, find_sources
from schemas.errors import TwinlensError

STANDARD_INPUT: Final = "-"
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of a picture behind a URL; the query service has a limit of its own."""
FETCH_S: Final = 30.0


class QueryUnreadable(TwinlensError):
    """A picture to search with can't be had; the text says why."""


@dataclass(frozen=True, slots=True)
class QueryPicture:
    """One picture to search with. ``read`` raises QueryUnreadable."""

    name: str
    read: Callable[[], Awaitable[bytes]]


def find_queries(words: Sequence[str], *, everything: bool = False) -> list[QueryPicture]:
    """The pictures that the words name, in their order; of a folder as `twinlens add` takes them.

    Raises PathProblem for a path that is not there, and a folder without pictures.
    """
    return [query for word in words for query in _queries(word, everything=everything)]


def _queries(word: str, *, everything: bool) -> Iterator[QueryPicture]:
    if word == STANDARD_INPUT:
        yield QueryPicture(word, _from_standard_input)
    elif word.startswith(("http://", "https://")):
        yield QueryPicture(word, lambda: fetched(word))
    else:
        sources = find_sources([Path(word)], everything=everything)
        if not sources:
            raise PathProblem(f"there are no pictures in {word}; --all takes files of every name")
        for source in sources:
            yield QueryPicture(str(source.path), partial(asyncio.to_thread, _from_file, source.path))


def _from_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise QueryUnreadable(f"can't be read: {error.strerror}") from error


async def _from_standard_input() -> bytes:
    if sys.stdin.isatty():
        raise QueryUnreadable("standard input is the terminal: pipe a picture into it")
    return await asyncio.to_thread(sys.stdin.buffer.read)


async def fetched(url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> bytes:
    """The bytes behind a URL, by this machine's own way to the web. Raises QueryUnreadable."""
    try:
        async with (
            httpx.AsyncClient(timeout=FETCH_S, follow_redirects=True, transport=transport) as client,
            client.stream("GET", url) as response,
        ):
            if not response.is_success:
                raise QueryUnreadable(f"its server answered {response.status_code} {response.reason_phrase}")
            data = bytearray()
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > MAX_BYTES:
                    raise QueryUnreadable(f"has more than {MAX_BYTES:,} bytes")
            return bytes(data)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise QueryUnreadable(f"can't be fetched: {str(error) or type(error).__name__}") from error
