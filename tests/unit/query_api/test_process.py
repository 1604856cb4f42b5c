"""`twinlens api` as it is started, with no servers behind it: raw bytes on its port."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hypothesis import given, strategies

from query_api.http.protocol import HEAD_TIMEOUT_S, UNREAD_PAUSE_S
from tests.harness.fuzzing import fuzz, fuzz_settings
from tests.harness.query_service import Service, service

pytestmark = pytest.mark.slow

KEY_HASH = "0" * 64
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SIGN_IN = b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A query service that asks for keys; what lies behind it does not answer."""
    folder = tmp_path_factory.mktemp("api")
    environment = {
        "TWINLENS_DATABASE__URL": f"sqlite+aiosqlite:///{folder}/twinlens.db",
        "TWINLENS_VECTORS__URI": "http://127.0.0.1:9",
        "TWINLENS_OBJECTS__ENDPOINT": "127.0.0.1:9",
        "TWINLENS_API__KEY_HASHES": f'{{"shop": "{KEY_HASH}"}}',
    }
    with service(environment, folder, wait_for="/healthz") as running:
        yield running


def _answer(running: Service, *pieces: bytes, timeout_s: float = HEAD_TIMEOUT_S + 5) -> bytes:
    """What comes back until the connection ends, or until nothing more comes; a reset counts as nothing."""
    answer = b""
    with socket.create_connection(running.host_and_port, timeout=timeout_s) as connection:
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
        with contextlib.suppress(OSError):
            while piece := connection.recv(65536):
                answer += piece
                if b"200 OK" in answer:
                    break
    return answer


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([GET, b"X-Large: " + b"x" * 8 * MEGABYTE, b"\r\n\r\n"], id="one large header"),
        pytest.param([GET, b"X-Large: " + b"x" * 40_000 + b"\r\n\r\n"], id="a header above the bound"),
        pytest.param([GET, b"X: y\r\n" * 5_000, b"\r\n"], id="many headers"),
        pytest.param([GET, b"X: y\r\n" * 120, b"\r\n"], id="a few headers too many"),
        pytest.param([b"GET /healthz?" + b"x" * 8 * MEGABYTE + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"], id="address"),
        pytest.param([GET, b"\r\n" + GET + b"X-Large: " + b"x" * 8 * MEGABYTE + b"\r\n\r\n"], id="second request"),
        pytest.param(
            [SIGN_IN, b"x" * 60_000 + GET + b"X-Large: " + b"x" * 8 * MEGABYTE + b"\r\n\r\n"], id="behind a body"
        ),
    ],
)
def test_heads_are_bounded(running: Service, pieces: list[bytes]) -> None:
    """A request with more headers than there may be is not answered, and costs no memory."""
    before = running.resident_bytes()
    answer = _answer(running, *pieces)
    assert b"HTTP/1.1 200" not in answer or pieces[1].startswith(b"\r\n")
    assert running.resident_bytes() - before < 2 * MEGABYTE
    assert httpx.get(f"{running.url}/healthz").status_code == 200


def test_a_head_above_the_bound_is_named(running: Service) -> None:
    """A client that sends slightly too much learns why it is refused."""
    assert _answer(running, GET + b"X: y\r\n" * 120 + b"\r\n").startswith(b"HTTP/1.1 431 ")


def test_heads_within_the_bound_are_taken(running: Service) -> None:
    """What browsers and proxies send fits by far."""
    assert b"200 OK" in _answer(running, GET + b"X-Large: " + b"x" * 16_000 + b"\r\n" + b"X: y\r\n" * 80 + b"\r\n")


def test_trailers_are_bounded(running: Service) -> None:
    """The headers after a chunked body are counted like those before it."""
    before = running.process.memory("VmHWM")
    _answer(running, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", *[b"x" * MEGABYTE] * 32)
    assert running.process.memory("VmHWM") - before < 8 * MEGABYTE


@pytest.mark.slow
def test_whoever_sends_nothing_more_is_let_go(running: Service) -> None:
    """Without a request, in the middle of one's head, or in that of a body that was refused."""
    sent = [b"", b"GET / HTTP/1.1\r\nHost: local", POST + b"Content-Length: 1000000\r\n\r\nx"]
    begun = time.monotonic()
    with ThreadPoolExecutor(len(sent)) as threads:
        answers = list(threads.map(lambda each: _answer(running, each), sent))
    assert time.monotonic() - begun < HEAD_TIMEOUT_S + 4
    assert [answer.split(b"\r\n")[0] for answer in answers] == [b"", b"", b"HTTP/1.1 413 Request Entity Too Large"]


@pytest.mark.slow
def test_a_nested_body_without_a_key_costs_no_memory(running: Service) -> None:
    """Sixty megabytes of brackets are refused before they are parsed."""
    before = running.process.memory("VmHWM")
    pieces = [b"[" * MEGABYTE] * 31 + [b"]" * MEGABYTE] * 31
    _answer(running, POST + b"Content-Length: %d\r\n\r\n" % (62 * MEGABYTE), *pieces)
    assert running.process.memory("VmHWM") - before < 8 * MEGABYTE


@pytest.mark.slow
def test_a_refused_body_is_read_on_slowly(running: Service) -> None:
    """Megabytes behind a refusal are no work for one moment; the client has its answer, and may ask again."""
    length = 32 * MEGABYTE
    head = POST + b"Content-Length: %d\r\n\r\n" % length
    with socket.create_connection(running.host_and_port, timeout=HEAD_TIMEOUT_S) as connection:
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
        begun = time.monotonic()
        connection.sendall(bytes(length))
        connection.sendall(GET + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - begun > length / (256_000 / UNREAD_PAUSE_S) / 2


@pytest.mark.fuzz
def test_any_bytes_are_answered_or_refused(running: Service) -> None:
    """Whatever comes over the connection, the service goes on, holds no more memory, and never answers with a 500."""
    pieces = [
        b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"/v1/search", b"/v1/images?limit=", b"/v1/session", b"/", b"%00",
        b"..", b"?", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/9.9", b"\r\n", b"\n", b"\r\n\r\n", b"Host: localhost\r\n",
        b"Host: \xff\r\n", b"Content-Length: 3\r\n", b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n",
        b"ffffffffffffffff\r\n", b"Expect: 100-continue\r\n", b"Content-Type: application/json\r\n",
        b"Content-Type: multipart/form-data; boundary=b\r\n", b"--b\r\n", b"--b--",
        b"Authorization: Bearer \x80\r\n", b"Cookie: twinlens_key=\x00\r\n", b"Range: bytes=9-1\r\n",
        b'{"key":"\\ud800"}',
    ]  # fmt: skip
    before = running.resident_bytes()

    @fuzz_settings
    @given(strategies.lists(strategies.sampled_from(pieces) | strategies.binary(max_size=20), max_size=14))
    def try_examples(sent: list[bytes]) -> None:
        with socket.create_connection(running.host_and_port, timeout=10) as connection, contextlib.suppress(OSError):
            connection.sendall(b"".join(sent))
            connection.shutdown(socket.SHUT_WR)
            while answer := connection.recv(65536):
                assert b"HTTP/1.1 500" not in answer, sent

    fuzz(try_examples)
    assert httpx.get(f"{running.url}/healthz").status_code == 200
    assert running.resident_bytes() - before < 64 * MEGABYTE
