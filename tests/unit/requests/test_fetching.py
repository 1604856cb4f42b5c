"""Fetching what requests name: few at once from a host, none from one that is down, a batch in its time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import stamina

from schemas.errors import RefusedUrl
from schemas.settings import RequestSettings
from stores.urls import Fetched, SilentHost, UnreachableUrl
from streams.requests.fetching import FETCH_ATTEMPTS, HOST_FAILURES, HostFetcher, begun

MAX = 1000
DOWN = "http://down.example/a"


class Web:
    """Servers that answer at once with their URL; those with a failure raise it, and those with a gate wait for it."""

    def __init__(self) -> None:
        self.failures: dict[str, Callable[[], Exception]] = {}
        self.gate: asyncio.Event | None = None
        self.attempts: Counter[str] = Counter()
        self.open = 0
        self.most_open = 0

    async def fetch(self, url: str, *, max_bytes: int) -> Fetched:
        """One attempt."""
        assert max_bytes == MAX
        self.attempts[url] += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if url in self.failures:
                failure = self.failures[url]()
                raise failure
        finally:
            self.open -= 1
        return Fetched(url.encode(), "image/png")


class Clock:
    """Seconds, set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Now."""
        return self.now


@pytest.fixture(autouse=True)
def _at_once() -> Iterator[None]:
    """Between two attempts no time passes."""
    stamina.set_testing(True, attempts=FETCH_ATTEMPTS)
    yield
    stamina.set_testing(False)


async def refusal(fetcher: HostFetcher, url: str) -> str:
    """Why the URL is not fetched."""
    with pytest.raises(RefusedUrl) as refused:
        await fetcher.fetch(url, MAX)
    return str(refused.value)


def silent() -> Exception:
    """No answer."""
    return SilentHost("fetching failed: connection refused")


def once(web: Web, error: Exception) -> Callable[[], Exception]:
    """A failure that ends with its first."""

    def fail() -> Exception:
        web.failures.clear()
        return error

    return fail


async def test_a_url_is_tried_again() -> None:
    """A server that fails once delivers at the second attempt; what is refused for good is not asked for again."""
    web = Web()
    web.failures["http://x/a"] = once(web, UnreachableUrl("the server answered 503"))
    fetcher = HostFetcher(web, RequestSettings())
    assert await fetcher.fetch("http://x/a", MAX) == (b"http://x/a", "image/png")
    assert web.attempts["http://x/a"] == 2
    web.failures["http://x/b"] = lambda: RefusedUrl("the server answered 404")
    assert "404" in await refusal(fetcher, "http://x/b")
    assert web.attempts["http://x/b"] == 1


async def test_a_host_that_does_not_answer_is_skipped_for_a_while() -> None:
    """Its URLs are refused at once; after it one more failure has it skipped for longer, and a success ends it."""
    web, clock = Web(), Clock()
    fetcher = HostFetcher(web, RequestSettings(skip_host_s=60), clock)
    web.failures[DOWN] = silent
    for _ in range(HOST_FAILURES):
        assert "connection refused" in await refusal(fetcher, DOWN)
    asked = web.attempts.total()
    clock.now += 18
    assert await refusal(fetcher, "http://DOWN.example/other") == (
        "the host down.example does not answer, and is not asked again for 42 seconds"
    )
    assert web.attempts.total() == asked
    assert await fetcher.fetch("http://up.example/", MAX) == (b"http://up.example/", "image/png")
    clock.now += 42
    assert "connection refused" in await refusal(fetcher, DOWN)
    assert "not asked again for 120 seconds" in await refusal(fetcher, DOWN)
    for _ in range(10):
        clock.now = fetcher._hosts["down.example"].skipped_until
        assert "connection refused" in await refusal(fetcher, DOWN)
    assert "not asked again for 240 seconds" in await refusal(fetcher, DOWN)
    clock.now += 240
    del web.failures[DOWN]
    await fetcher.fetch(DOWN, MAX)
    web.failures[DOWN] = silent
    assert "connection refused" in await refusal(fetcher, DOWN)
    assert "connection refused" in await refusal(fetcher, DOWN)
    assert "not asked again for 60 seconds" in await refusal(fetcher, DOWN)


@pytest.mark.parametrize("error", [UnreachableUrl("the server answered 503"), RefusedUrl("the server answered 404")])
async def test_a_host_that_answers_is_not_down(error: RefusedUrl) -> None:
    """Whatever it answers: one bad URL, however often it is asked for, takes no others along."""
    web = Web()
    fetcher = HostFetcher(web, RequestSettings())
    web.failures[DOWN] = lambda: error
    for _ in range(2 * HOST_FAILURES):
        assert "the server answered" in await refusal(fetcher, DOWN)
    await fetcher.fetch("http://down.example/good", MAX)


async def test_few_urls_of_a_host_are_fetched_at_once() -> None:
    """The others of the host wait, those of other hosts do not."""
    web = Web()
    web.gate = asyncio.Event()
    fetcher = HostFetcher(web, RequestSettings(fetches_per_host=2))
    fetches = [asyncio.create_task(fetcher.fetch(f"http://{host}.example/{n}", MAX)) for n in range(5) for host in "ab"]
    await asyncio.sleep(0.01)
    assert web.open == 4
    web.gate.set()
    assert len(await asyncio.gather(*fetches)) == 10
    assert web.most_open == 4


async def test_a_url_has_a_time_limit() -> None:
    """A server that hangs is one that does not answer."""
    web = Web()
    web.gate = asyncio.Event()
    fetcher = HostFetcher(web, RequestSettings(fetch_timeout_s=0.01))
    for _ in range(HOST_FAILURES):
        assert await refusal(fetcher, DOWN) == "fetching took longer than 0.01 seconds"
    assert "is not asked again" in await refusal(fetcher, DOWN)


async def test_what_a_batch_has_no_time_for_is_refused() -> None:
    """The URLs behind those of a slow host are, when the batch's time is over; what came before stays."""
    web = Web()
    fetcher = HostFetcher(web, RequestSettings(fetches_per_host=1))
    async with begun(["http://quick/"], fetcher.fetch, max_bytes=MAX, timeout_s=5) as fetch:
        assert await fetch("http://quick/", MAX) == await fetch("http://quick/", MAX)
    assert web.attempts["http://quick/"] == 1
    web.gate = asyncio.Event()
    async with begun([DOWN, DOWN + "b"], fetcher.fetch, max_bytes=MAX, timeout_s=0.01) as fetch:
        with pytest.raises(RefusedUrl, match=r"too slow: 0\.01 seconds went by"):
            await fetch(DOWN + "b", MAX)
    assert web.attempts[DOWN + "b"] == 0


async def test_what_nobody_waits_for_is_broken_off() -> None:
    """A batch that ends early leaves no fetch behind."""
    web = Web()
    web.gate = asyncio.Event()
    async with begun([DOWN], HostFetcher(web, RequestSettings()).fetch, max_bytes=MAX, timeout_s=5):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert web.open == 0


async def test_fetching_can_be_switched_off() -> None:
    """The outcome names the setting."""
    web = Web()
    assert "requests.fetch_urls" in await refusal(HostFetcher(web, RequestSettings(fetch_urls=False)), DOWN)
    assert not web.attempts
