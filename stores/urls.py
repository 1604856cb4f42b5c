"""Fetching a picture from a URL that a stranger gave, without becoming the stranger's way into this network."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, Protocol

import httpx

from schemas.errors import RefusedUrl
from schemas.records import ANY_TYPE, UNTYPED, URL_MAX_LENGTH
from stores.addresses import Address, Network, may_fetch_from, parsed_address

DEFAULT_PORTS: Final = frozenset({80, 443})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SCHEMES: Final = {"http": 80, "https": 443}

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses. Raises OSError if the host is unknown."""


class UnreachableUrl(RefusedUrl):
    """The URL may be fetched, but its server does not deliver; another time it might."""

    retryable = True


class SilentHost(UnreachableUrl):
    """The host can't be found, or does not answer in time: that says something about its other URLs, too."""


class Fetched(NamedTuple):
    """What a URL gave. ``content_type`` is what its server claims, in lower case and without parameters."""

    data: bytes
    content_type: str


class UrlFetcher(Protocol):
    """One attempt at a URL. Adapter: ``GuardedFetcher``."""

    async def fetch(self, url: str, *, max_bytes: int) -> Fetched:
        """The bytes behind a URL. Raises RefusedUrl with a sentence for the person who gave it.

        UnreachableUrl, which is one too, says that another attempt may succeed; of that, SilentHost that there was no
        answer at all.
        """


class _Place(NamedTuple):
    """A URL with the one address that was checked for it."""

    url: httpx.URL
    address: Address


async def resolve(host: str, port: int) -> Sequence[str]:
    """The system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class GuardedFetcher(UrlFetcher):
    """Fetches pictures by HTTP from public addresses only.

    Every address that a name stands for must be allowed, and the connection goes to the address that was checked: a
    name that changes its mind in between (DNS rebinding) gains nothing. Redirects are checked like the first URL.
    ``ports`` may be fetched from; ``allow`` names networks that may be although they aren't public. ``timeout_s``
    limits the whole fetch. ``tls`` says which certificates are trusted, if not the usual ones.
    """

    def __init__(
        self,
        *,
        timeout_s: float = 20,
        max_redirects: int = 3,
        ports: Collection[int] = DEFAULT_PORTS,
        allow: Sequence[Network] = (),
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._max_redirects = max_redirects
        self._ports = frozenset(ports)
        self._allow = tuple(allow)
        self._resolver = resolver
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            # No proxy from the environment: it would resolve the name anew.
            trust_env=False,
            verify=tls or True,
            timeout=timeout_s,
            # A kept connection belongs to an address, and would be used again for another name on that address.
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.aclose()

    async def fetch(self, url: str, *, max_bytes: int) -> Fetched:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(url, max_bytes)
        except TimeoutError as error:
            raise SilentHost(f"fetching took longer than {self._timeout_s:g} seconds") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise SilentHost(f"fetching failed: {str(error) or type(error).__name__}") from error

    async def _follow(self, text: str, max_bytes: int) -> Fetched:
        url = self._checked_url(text)
        for _ in range(self._max_redirects + 1):
            place = _Place(url, await self._checked_address(url))
            async with self._answer(place) as answer:
                if answer.status_code not in _REDIRECTS:
                    return await _body(answer, max_bytes)
                url = self._checked_url(_target(url, answer))
        raise RefusedUrl(f"the URL redirects more than {self._max_redirects} times")

    def _checked_url(self, text: str) -> httpx.URL:
        if len(text) > URL_MAX_LENGTH:
            raise RefusedUrl(f"the URL has {len(text)} characters; {URL_MAX_LENGTH} are allowed")
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            raise RefusedUrl(f"this is no URL: {error}") from error
        if url.scheme not in _SCHEMES or not url.host:
            raise RefusedUrl("only http:// and https:// URLs with a host are fetched")
        if url.userinfo:
            raise RefusedUrl("a URL with a user name or password is not fetched")
        if _port(url) not in self._ports:
            raise RefusedUrl(f"port {_port(url)} is not fetched from")
        return url

    async def _checked_address(self, url: httpx.URL) -> Address:
        """One of the host's addresses, all of which are allowed."""
        host = url.raw_host.decode("ascii").strip("[]")
        try:
            texts = [host] if parsed_address(host) else await self._resolver(host, _port(url))
        except (OSError, UnicodeError) as error:
            raise SilentHost(f"the host {url.host} can't be found") from error
        addresses = [parsed_address(text) for text in texts]
        allowed = [a for a in addresses if a is not None and may_fetch_from(a, self._allow)]
        if not allowed or len(allowed) < len(addresses):
            raise RefusedUrl(f"the host {url.host} is not on the public internet")
        return allowed[0]

    @asynccontextmanager
    async def _answer(self, place: _Place) -> AsyncIterator[httpx.Response]:
        """The answer's head, from the checked address; TLS still demands the certificate of the URL's host."""
        url = place.url
        request = self._client.build_request(
            "GET",
            url.copy_with(host=str(place.address), fragment=None),
            headers={
                "Host": url.netloc.decode("ascii"),
                "Accept": "image/*",
                "Accept-Encoding": "identity",
                "User-Agent": "twinlens",
            },
            extensions={"sni_hostname": url.raw_host.decode("ascii").strip("[]")},
        )
        answer = await self._client.send(request, stream=True)
        try:
            yield answer
        finally:
            await answer.aclose()


def _port(url: httpx.URL) -> int:
    return _SCHEMES[url.scheme] if url.port is None else url.port


def _target(url: httpx.URL, answer: httpx.Response) -> str:
    location = answer.headers.get("location")
    if not location:
        raise RefusedUrl(f"the server answered {answer.status_code} without a place to go on")
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise RefusedUrl(f"the server redirects to what is no URL: {error}") from error


async def _body(answer: httpx.Response, max_bytes: int) -> Fetched:
    """The bytes as they come over the wire, so that nothing unpacks to more than that."""
    if answer.status_code != httpx.codes.OK:
        passing = answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS
        raise (UnreachableUrl if passing else RefusedUrl)(f"the server answered {answer.status_code}")
    content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in UNTYPED and not content_type.startswith("image/"):
        raise RefusedUrl(f"the server says that this is {content_type}, no picture")
    if answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise RefusedUrl("the server sends the picture packed, although it was asked not to")
    data = bytearray()
    async for piece in answer.aiter_raw(64 * 1024):
        data += piece
        if len(data) > max_bytes:
            raise RefusedUrl(f"there are more than {max_bytes:,} bytes behind the URL")
    return Fetched(bytes(data), content_type or ANY_TYPE)
