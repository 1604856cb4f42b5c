"""Callers without a key, and under a strange name: what they can take from the others, and what they get to see."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from query_api.app import create_app
from query_api.http import admission
from query_api.http.access import hash_of
from query_api.http.body_guard import OPEN_BODY_BYTES
from query_api.http.open_rate import A_SECOND, BURST, OpenRate
from query_api.http.turns import Turns
from schemas.settings import Settings
from tests.harness.library import Library, picture
from tests.unit.query_api.problems import assert_problem

KEYS = {"shop": hash_of("s3cret"), "other": hash_of("0ther")}
SHOP, OTHER = {"X-API-Key": "s3cret"}, {"X-API-Key": "0ther"}
PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}


@asynccontextmanager
async def _clients(library: Library, *addresses: str, **api: Any) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients of one service, each calling from an address of its own."""
    app = create_app(Settings.model_validate({"api": api}), library.ports)
    transports = [httpx.ASGITransport(app, client=(address, 1)) for address in addresses or ("127.0.0.1",)]
    clients = [httpx.AsyncClient(transport=each, base_url="http://localhost") for each in transports]
    yield clients
    for client in clients:
        await client.aclose()


class _Hanging:
    """A body that begins and does not end before it is let go."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data[:-1]
        self.begun.set()
        await self.go_on.wait()
        yield self._data[-1:]


async def _begun(body: _Hanging, request: asyncio.Task[httpx.Response]) -> None:
    """Wait until the body is being read, or the request was answered without it."""
    reading = asyncio.create_task(body.begun.wait())
    await asyncio.wait({reading, request}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    reading.cancel()


@pytest.mark.parametrize("keys", [{}, KEYS])
@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_needs_no_key_is_small(library: Library, keys: dict[str, str], declared: bool) -> None:
    """Signing in takes 4 KiB and nothing that is longer, whether its length is declared or shows as it comes."""
    body = b"[" * (OPEN_BODY_BYTES + 1)

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:100]
        yield body[100:]

    async with _clients(library, key_hashes=keys) as [client]:
        content = body if declared else pieces()
        assert_problem(await client.post("/v1/session", content=content, headers=JSON), 413)
        nested = await client.post("/v1/session", content=body[:-1], headers=JSON)
        assert nested.status_code in (400, 422)


async def test_a_key_of_lone_surrogates_is_no_key(library: Library) -> None:
    """Text that is no text is a wrong key like others."""
    async with _clients(library, key_hashes=KEYS) as [client]:
        answer = await client.post("/v1/session", content=b'{"api_key": "\\ud800"}', headers=JSON)
        assert_problem(answer, 401)


async def test_one_client_can_not_hold_the_whole_byte_budget(library: Library) -> None:
    """A client that holds its share is refused more of it, while another still finds room."""
    data = picture(1)
    async with _clients(library, key_hashes=KEYS, max_request_bytes=len(data), max_bytes_in_flight=2 * len(data)) as [
        client
    ]:
        body = _Hanging(data)
        held = asyncio.create_task(client.post("/v1/search", content=body, headers=PNG | SHOP))
        await _begun(body, held)
        assert_problem(await client.post("/v1/search", content=data, headers=PNG | SHOP), 503)
        assert (await client.post("/v1/search", content=data, headers=PNG | OTHER)).status_code == 200
        body.go_on.set()
        assert (await held).status_code == 200


async def test_places_are_kept_for_key_holders(library: Library) -> None:
    """However many strangers hold a request open, from however many addresses, a key holder is answered."""
    addresses = [f"192.0.2.{n}" for n in range(1, 9)]
    async with _clients(library, *addresses, key_hashes=KEYS, max_concurrency=8) as clients:
        bodies = [_Hanging(json.dumps({"api_key": "wrong"}).encode()) for _ in clients]
        held = [
            asyncio.create_task(client.post("/v1/session", content=body, headers=JSON))
            for client, body in zip(clients, bodies, strict=True)
        ]
        for body, request in zip(bodies, held, strict=True):
            await _begun(body, request)
        assert (await clients[0].get("/v1/stats", headers=SHOP)).status_code == 200
        for body in bodies:
            body.go_on.set()
        assert {(await request).status_code for request in held} == {401, 503}


async def test_an_address_has_a_share_of_the_strangers_places(library: Library) -> None:
    """One address can't keep the others from signing in; the addresses of one IPv6 network count as one."""
    addresses = ["2001:db8::1", "2001:db8::2", "192.0.2.1"]
    async with _clients(library, *addresses, key_hashes=KEYS, max_concurrency=8) as [first, second, other]:
        body = _Hanging(b'{"api_key": "wrong"}')
        held = asyncio.create_task(first.post("/v1/session", content=body, headers=JSON))
        await _begun(body, held)
        assert_problem(await second.get("/v1/session"), 429)
        assert (await other.post("/v1/session", json={"api_key": "s3cret"})).status_code == 204
        body.go_on.set()
        await held


@pytest.mark.parametrize("path", ["/sample/file", "/meta/image/any/file", "/v1/file", "/v1/images/a/b/file"])
async def test_only_files_and_thumbnails_are_free_of_the_rate(library: Library, path: str) -> None:
    """A path that merely ends like theirs counts."""
    image_id = await library.add("a.png", picture(1))
    async with _clients(library, rate_limit="1/hour") as [client]:
        method = "POST" if path == "/sample/file" else "GET"
        assert (await client.request(method, path)).status_code != 429
        assert_problem(await client.request(method, path), 429)
        for free in ("file", "thumbnail"):
            assert (await client.get(f"/v1/images/{image_id}/{free}")).status_code == 200


async def test_readiness_is_looked_at_once_a_second(library: Library) -> None:
    """However many ask whether the service is ready, the servers behind it are asked once."""
    looks = 0
    check = library.catalog.check

    async def counted() -> None:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        await check()

    library.catalog.check = counted  # type: ignore[method-assign]
    async with _clients(library) as [client]:
        answers = await asyncio.gather(*[client.get("/readyz") for _ in range(50)])
        assert {answer.status_code for answer in answers} == {200}
    assert looks == 1


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:6200", "", "[::1"])
@pytest.mark.parametrize("path", ["/v1/images", "/meta/image", "/", "/metrics", "/v1/session"])
async def test_a_strange_host_is_not_answered(library: Library, host: str, path: str) -> None:
    """A page whose name was made to lead here (DNS rebinding) reads nothing, and writes its name into no link."""
    await library.add("a.png", picture(1))
    async with _clients(library) as [client]:
        body = assert_problem(await client.get(path, headers={"Host": host}), 421)
        assert body["code"] == "unknown_host"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:6200", "127.0.0.1:6200", "[::1]:6200", "pictures.example.org", "twinlens.lan:1"]
)
async def test_known_hosts_are_answered(library: Library, host: str) -> None:
    """Names of this machine, the public one and listed ones, with any port."""
    settings = {"public_url": "https://Pictures.example.org/base", "allowed_hosts": ["twinlens.lan"]}
    async with _clients(library, **settings) as [client]:
        assert (await client.get("/v1/images", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"), [("/metrics", 200), ("/v1/images", 421), ("/meta/image", 421), ("/", 421), ("/v1/session", 421)]
)
async def test_only_metrics_are_answered_under_any_address(library: Library, path: str, status: int) -> None:
    """Prometheus asks each process by its address; what has links is answered under known names alone."""
    async with _clients(library) as [client]:
        for host in ("10.0.0.1", "10.0.0.1:6200", "[fd00::1]:6200"):
            assert (await client.get(path, headers={"Host": host})).status_code == status


async def test_health_is_answered_under_any_host(library: Library) -> None:
    """A supervisor asks by an address that nobody listed, and learns nothing but that."""
    async with _clients(library) as [client]:
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path, headers={"Host": "10.1.2.3:6200"})).status_code == 200


@pytest.mark.parametrize(("keys", "whose"), [({}, "public"), (KEYS, "private")])
async def test_shared_caches_keep_no_thumbnail_that_needs_a_key(
    library: Library, keys: dict[str, str], whose: str
) -> None:
    """Where keys are asked for, a thumbnail is for the client alone, also when it is still current."""
    image_id = await library.add("a.png", picture(1))
    async with _clients(library, key_hashes=keys) as [client]:
        image = (await client.get(f"/v1/images/{image_id}", headers=SHOP)).json()
        first = await client.get(image["thumbnail_url"], headers=SHOP)
        again = await client.get(image["thumbnail_url"], headers=SHOP | {"If-None-Match": first.headers["etag"]})
        assert (first.status_code, again.status_code) == (200, 304)
        for answer in (first, again):
            assert answer.headers["cache-control"] == f"{whose}, max-age=31536000, immutable"


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes for what strangers may ask: on a busy machine they would be given more meanwhile."""
    monkeypatch.setattr(admission, "OpenRate", lambda: OpenRate(lambda: 0.0))


@pytest.mark.usefixtures("stopped_clock")
async def test_strangers_have_a_rate(library: Library) -> None:
    """An address without a key that asks on and on is refused and slowed down, whatever is open to it; another address,
    key holders behind the same one, and health checks are not.
    """
    async with _clients(library, "192.0.2.7", "192.0.2.8", key_hashes=KEYS) as [flood, other]:
        statuses = {(await flood.get("/v1/images")).status_code for _ in range(BURST)}
        assert statuses == {401}
        began = time.monotonic()
        answers = await asyncio.gather(*[flood.get(path) for path in ("/", "/v1/images", "/nothing") for _ in range(5)])
        assert {answer.status_code for answer in answers} == {429}
        assert time.monotonic() - began > 0.4
        assert (await other.get("/")).status_code == 200
        assert (await flood.get("/v1/images", headers=SHOP)).status_code == 200
        assert (await flood.get("/healthz")).status_code == 200


@pytest.mark.usefixtures("stopped_clock")
async def test_whoever_is_slowed_down_takes_no_place(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an address that asks too often waits for its refusal, strangers from elsewhere can sign in."""
    monkeypatch.setattr(admission, "_HELD_BACK_S", 5)
    async with _clients(library, "192.0.2.7", "192.0.2.8", key_hashes=KEYS) as [flood, other]:
        for _ in range(BURST):
            await flood.get("/v1/images")
        waiting = [asyncio.create_task(flood.get("/v1/images")) for _ in range(40)]
        await asyncio.sleep(0)
        answer = await other.post("/v1/session", json={"api_key": "s3cret"})
        assert answer.status_code in (200, 204)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_key_holders_do_not_wait_for_all_strangers_who_came_before(library: Library) -> None:
    """Of a hundred who come at once without a key, one goes on in a round of the event loop: others get in between."""
    answered: list[str] = []

    async def ask(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        # A route that hands nothing to a thread: what comes back from one comes when the machine has time.
        answered.append(str((await client.get("/v1/images/no", headers=headers)).status_code))

    async with _clients(library, key_hashes=KEYS) as [client], asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(ask(client, {}))
        group.create_task(ask(client, SHOP))
    assert answered.count("401") == 100
    assert answered.index("404") < 10


async def test_turns_are_taken_in_order_one_a_round() -> None:
    """Whoever stops waiting holds up nobody."""
    turns, taken = Turns(), []

    async def take(number: int) -> None:
        await turns.take()
        taken.append(number)

    tasks = [asyncio.create_task(take(number)) for number in range(10)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[5].cancel()
    while not all(task.done() for task in tasks):
        before = len(taken)
        await asyncio.sleep(0)
        assert len(taken) <= before + 1
    assert taken == [1, 2, 3, 4, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "path", ["/v1/images", "/v1/search", "/v1/thumbnail", "/sample/file", "/meta/image/x", "/v1/no"]
)
async def test_without_a_key_nothing_is_told_of_routes(library: Library, path: str) -> None:
    """Whether a route or an image is there, and what it takes, is told to key holders only, whatever the method."""
    async with _clients(library, key_hashes=KEYS) as [client]:
        for method in ("GET", "POST", "DELETE"):
            answer = await client.request(method, path)
            assert_problem(answer, 401)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_addresses_are_given_their_tokens_back() -> None:
    """So many a second, and never more than a burst of them; each address has its own."""
    now = 0.0
    rate = OpenRate(lambda: now)
    assert [rate.takes("one") for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert rate.takes("other")
    now = 0.5
    assert [rate.takes("one") for _ in range(A_SECOND // 2 + 1)] == [True] * (A_SECOND // 2) + [False]
    now = 1e6
    assert [rate.takes("one") for _ in range(BURST + 1)] == [True] * BURST + [False]


@pytest.mark.parametrize(
    "body",
    [
        b'{"queries":[{' + b",".join(b'"%x":0' % number for number in range(180_000)) + b"}]}",
        b'{"queries":[{"vector":[' + b'"",' * 600_000 + b"0]}]}",
        b"{" + b",".join(b'"%x":0' % number for number in range(180_000)) + b"}",
        b'{"queries":' + b"[" * 1_000_000,
    ],
    ids=["names in a query", "no numbers", "names beside the queries", "nested"],
)
async def test_a_body_of_many_faults_costs_little(library: Library, body: bytes) -> None:
    """Two megabytes of JSON that is no query are refused within a moment, and not every fault is told."""
    async with _clients(library) as [client]:
        began = time.process_time()
        answer = await client.post("/v1/search", content=body, headers=JSON)
        assert time.process_time() - began < 1
        assert_problem(answer, 422)
        assert len(answer.content) < 4096
