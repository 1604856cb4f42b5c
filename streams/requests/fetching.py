"""Fetching what requests name by URL: few at once from a host, none from one that is down, all of a batch in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import httpx
import stamina
import structlog
from cachetools import LRUCache

from schemas.errors import RefusedUrl
from schemas.settings import RequestSettings
from stores.urls import Fetched, SilentHost, UnreachableUrl, UrlFetcher
from streams.common import metrics

log = structlog.get_logger(__name__)

FETCH_ATTEMPTS = 3
"""At a URL whose server does not deliver."""
HOST_FAILURES = 2
"""URLs of a host in a row that got no answer, after which it counts as down."""
SKIP_DOUBLINGS = 2
"""The time for which a host is skipped doubles with each failure, so often at most."""
HOSTS_REMEMBERED = 4096

Fetch = Callable[[str, int], Awaitable[tuple[bytes, str]]]
"""Bytes and content type of a URL, at most so many bytes. Raises RefusedUrl."""


@dataclass(slots=True)
class _Host:
    """What is known of a host: its circuit breaker."""

    slots: asyncio.Semaphore
    failures: int = 0
    skipped_until: float = 0.0

    def failed(self, now: float, skip_s: float) -> bool:
        """Count a URL without an answer; whether the host is skipped from now on.

        The count outlasts the skipping, so that afterwards a single failure has it skipped again, for twice as long.
        Those that were under way already when it began count no more.
        """
        if now < self.skipped_until:
            return False
        self.failures += 1
        doublings = self.failures - HOST_FAILURES
        if doublings < 0:
            return False
        self.skipped_until = now + skip_s * 2 ** min(doublings, SKIP_DOUBLINGS)
        return True


class HostFetcher:
    """Fetches URLs, ``requests.fetches_per_host`` at once from a host, each within ``requests.fetch_timeout_s``.

    A host of which several URLs in a row got no answer is left alone for ``requests.skip_host_s``, twice as long each
    time: its URLs are refused at once meanwhile. A host that answers, with an error too, is not down.
    """

    def __init__(self, fetcher: UrlFetcher, settings: RequestSettings, now: Callable[[], float] = monotonic) -> None:
        self._fetcher = fetcher
        self._settings = settings
        self._now = now
        self._hosts: LRUCache[str, _Host] = LRUCache(HOSTS_REMEMBERED)

    async def fetch(self, url: str, max_bytes: int) -> tuple[bytes, str]:
        """Bytes and content type. Raises RefusedUrl."""
        if not self._settings.fetch_urls:
            raise RefusedUrl("fetching URLs is switched off here (requests.fetch_urls)")
        name = _host_of(url)
        host = self._hosts.setdefault(name, _Host(asyncio.Semaphore(self._settings.fetches_per_host)))
        async with host.slots:
            left_s = host.skipped_until - self._now()
            if left_s > 0:
                metrics.URL_FETCHES.labels("skipped").inc()
                raise RefusedUrl(f"the host {name} does not answer, and is not asked again for {left_s:.0f} seconds")
            try:
                fetched = await self._in_time(url, max_bytes)
            except SilentHost:
                metrics.URL_FETCHES.labels("no_answer").inc()
                if host.failed(self._now(), self._settings.skip_host_s):
                    log.warning("host_skipped", host=name, failures=host.failures)
                raise
            except RefusedUrl:
                metrics.URL_FETCHES.labels("refused").inc()
                host.failures = 0
                raise
            metrics.URL_FETCHES.labels("fetched").inc()
            host.failures = 0
            return fetched.data, fetched.content_type

    async def _in_time(self, url: str, max_bytes: int) -> Fetched:
        """What a URL gives, tried again for as long as its time lasts."""
        timeout_s = self._settings.fetch_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._persistently(url, max_bytes)
        except TimeoutError as error:
            raise SilentHost(f"fetching took longer than {timeout_s:g} seconds") from error

    @stamina.retry(on=UnreachableUrl, attempts=FETCH_ATTEMPTS)
    async def _persistently(self, url: str, max_bytes: int) -> Fetched:
        return await self._fetcher.fetch(url, max_bytes=max_bytes)


@asynccontextmanager
async def begun(urls: Collection[str], fetch: Fetch, *, max_bytes: int, timeout_s: float) -> AsyncIterator[Fetch]:
    """Begin to fetch the URLs of a batch side by side; gives the Fetch that waits for each, however often it is asked.

    So a request that waits for its turn, or for the end of an outage, loses no time of its fetch. After ``timeout_s``
    what has not come is refused: only URLs that stood behind others of a slow host are.
    """

    async def in_time(url: str) -> tuple[bytes, str]:
        try:
            async with asyncio.timeout(timeout_s):
                return await fetch(url, max_bytes)
        except TimeoutError as error:
            raise UnreachableUrl(f"its host is too slow: {timeout_s:g} seconds went by with the URLs before") from error

    fetches = {url: asyncio.create_task(in_time(url)) for url in urls}

    async def fetched(url: str, _max_bytes: int) -> tuple[bytes, str]:
        return await asyncio.shield(fetches[url])

    try:
        yield fetched
    finally:
        for task in fetches.values():
            task.cancel()
        await asyncio.gather(*fetches.values(), return_exceptions=True)


def _host_of(url: str) -> str:
    """The host that a URL names, in lower case; nothing for what is no URL, which the fetcher refuses."""
    try:
        return httpx.URL(url).host
    except (httpx.InvalidURL, TypeError, ValueError):
        return ""
