"""The guarded fetching of URLs, against real local HTTP servers."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, strategies
from pydantic import ValidationError

from query_api.http.named_queries import ByUrl
from schemas.errors import RefusedUrl
from schemas.image_requests import ImageRequest
from schemas.records import URL_MAX_LENGTH
from stores.addresses import is_public
from stores.urls import Fetched, GuardedFetcher, UnreachableUrl, _target
from tests.harness.fuzzing import fuzz, fuzz_settings

LOOPBACK = (ip_network("127.0.0.0/8"),)
MAX = 100_000


class Site:
    """A local HTTP server that answers each path as it was told, and remembers the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.endless = False
        self.port = 0

    def page(self, path: str, body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> None:
        """Answer the path with a body."""
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
        self.answers[path] = "\r\n".join(head).encode() + body

    def redirect(self, path: str, target: str, status: str = "302 Found") -> None:
        """Answer the path with a redirect."""
        self.page(path, b"", f"Location: {target}", status=status)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and hang up."""
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(request)
        try:
            writer.write(self.answers.get(request.split()[1], b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            await writer.drain()
            while self.endless:
                writer.write(b"x" * 1000)
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def site(context: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """A running site on a free port."""
    running = Site()
    server = await asyncio.start_server(running.handle, "127.0.0.1", 0, ssl=context)
    running.port = server.sockets[0].getsockname()[1]
    async with server:
        yield running


class Names:
    """A resolver that knows these names; each answer of a list is given in turn, the last one for ever."""

    def __init__(self, **names: Sequence[Sequence[str]]) -> None:
        self._names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked = 0

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        """The next answer for the host."""
        self.asked += 1
        answers = self._names.get(host)
        if not answers:
            raise OSError(f"unknown host {host}")
        return answers.pop(0) if len(answers) > 1 else answers[0]


async def fetch(fetcher: GuardedFetcher, url: str, max_bytes: int = MAX) -> Fetched:
    """Fetch once and close."""
    try:
        return await fetcher.fetch(url, max_bytes=max_bytes)
    finally:
        await fetcher.close()


@cache
def usual_trust() -> ssl.SSLContext:
    """What a fetcher trusts by itself; reading all those certificates takes longer than the rest of a test."""
    return httpx.create_ssl_context(trust_env=False)


def guarded(**options: Any) -> GuardedFetcher:
    """A fetcher."""
    return GuardedFetcher(**{"tls": usual_trust(), **options})


def local(running: Site, **options: object) -> GuardedFetcher:
    """A fetcher that may fetch from the site."""
    defaults: dict[str, object] = {"allow": LOOPBACK, "ports": {running.port}, "timeout_s": 5}
    return guarded(**(defaults | options))


async def test_a_url_may_be_as_long_as_messages_and_the_api_take_it() -> None:
    """4,096 characters; one more is refused by all three."""
    async with site() as running:
        begin = f"http://127.0.0.1:{running.port}/"
        longest = begin + "x" * (URL_MAX_LENGTH - len(begin))
        running.page(longest.removeprefix(begin[:-1]), b"bytes")
        assert (await fetch(local(running), longest)).data == b"bytes"
        for taken in (ByUrl, partial(ImageRequest, request_id="r", key="k")):
            assert taken(url=longest).url == longest
            with pytest.raises(ValidationError, match="at most 4096 characters"):
                taken(url=longest + "x")
        with pytest.raises(RefusedUrl, match="4097 characters; 4096 are allowed"):
            await fetch(local(running), longest + "x")


async def test_a_picture_is_fetched() -> None:
    """The bytes and their content type come back; the request names the host and asks for nothing packed."""
    async with site() as running:
        running.page("/a%20b.png?x=1", b"bytes", "Content-Type: Image/PNG; charset=x")
        names = Names(pictures_example=[["127.0.0.1"]])
        fetched = await fetch(
            local(running, resolver=names), f"http://pictures.example:{running.port}/a b.png?x=1#part"
        )
        assert fetched == Fetched(b"bytes", "image/png")
        assert f"Host: pictures.example:{running.port}\r\n" in running.requests[0]
        assert "Accept-Encoding: identity\r\n" in running.requests[0]
        assert "gzip" not in running.requests[0]


@pytest.mark.parametrize(
    "url",
    [
        "", "picture.png", "//host/a", "ftp://host/a", "file:///etc/passwd", "data:image/png;base64,AA==", "http://",
        "http:///a", "gopher://x/", "http://user@example.com/a", "http://user:pass@example.com/", "http://[::1",
        "http://example.com:22/", "http://example.com:99999/", "http://example.com:0/", "javascript:alert(1)",
        "http://example.com/" + "a" * URL_MAX_LENGTH,
    ],
)  # fmt: skip
async def test_odd_urls_are_refused_before_anything_is_asked(url: str) -> None:
    """Only plain http and https URLs on the usual ports are looked at further."""
    names = Names(example_com=[["93.184.215.14"]])
    with pytest.raises(RefusedUrl):
        await fetch(guarded(resolver=names), url)
    assert names.asked == 0


FORBIDDEN = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1",  # noqa: S104
    "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1",
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::",
    "168.63.129.16", "161.26.0.7", "166.8.0.1", "199.36.153.8", "::ffff:168.63.129.16", "2600:2d00:2:1000::1",
    "2002:a9fe:a9fe::1", "2001:0:1::1", "2001:db8::1", "3fff::1", "100::1", "fec0::1", "5f00::1",
]  # fmt: skip
PUBLIC = [
    "93.184.215.14", "8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8",
    "64:ff9b::808:808", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
async def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    """Neither as the URL's host, nor behind a name, nor as one of several addresses of a name."""
    assert not is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    names = Names(bad_example=[[address]], mixed_example=[["93.184.215.14", address]])
    for url in (f"http://{host}/a.png", "http://bad.example/a.png", "https://mixed.example/a.png"):
        with pytest.raises(RefusedUrl, match="public internet"):
            await fetch(guarded(resolver=names), url)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    """Addresses of the internet, also in the forms that stand for an IPv4 one."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "host", ["localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost.", "[::1%25lo]"]
)
async def test_other_spellings_of_this_machine_are_refused(host: str) -> None:
    """What the system's resolver makes of a host is what counts."""
    with pytest.raises(RefusedUrl):
        await fetch(guarded(timeout_s=5), f"http://{host}/a.png")


async def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    """The connection goes to the address that was checked: the name is resolved once per step."""
    async with site() as running:
        running.page("/a.png", b"secret")
        # The first answer is checked; were the name resolved again to connect, it would be this machine.
        names = Names(rebinding_example=[["93.184.215.14"], ["127.0.0.1"]])
        fetcher = guarded(ports={running.port}, resolver=names, timeout_s=0.5)
        with pytest.raises(RefusedUrl):
            await fetch(fetcher, f"http://rebinding.example:{running.port}/a.png")
        assert names.asked == 1
        assert running.requests == []


async def test_redirects_are_followed_and_checked() -> None:
    """Up to three, relative ones too; each target is checked like a first URL."""
    async with site() as running:
        running.redirect("/1", "/2")
        running.redirect("/2", "3", status="308 Permanent Redirect")
        running.redirect("/3", f"http://two.example:{running.port}/4", status="303 See Other")
        running.page("/4", b"bytes", "Content-Type: image/png")
        running.redirect("/0", "/1")
        base = f"http://one.example:{running.port}"

        def fetcher() -> GuardedFetcher:
            return local(running, resolver=Names(one_example=[["127.0.0.1"]], two_example=[["127.0.0.2"]]))

        # 127.0.0.2 is this machine too, but the site listens on 127.0.0.1 only: the address is the name's own.
        with pytest.raises(UnreachableUrl):
            await fetch(fetcher(), f"{base}/1")
        running.redirect("/3", "/4")
        assert (await fetch(fetcher(), f"{base}/1")).data == b"bytes"
        with pytest.raises(RefusedUrl, match="more than 3 times"):
            await fetch(fetcher(), f"{base}/0")


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2:{port}/secret", "http://localhost:{port}/secret", "http://inside.example:{port}/secret",
        "file:///etc/passwd", "http://user@one.example:{port}/secret", "http://one.example:1/secret", "//[::1]:{port}/",
        "http://[::1", "", "https:////[p-]:h@p?@", "https:////x]h", "//[", "http://a:b/",
    ],
)  # fmt: skip
async def test_a_redirect_leads_nowhere_that_a_url_could_not(target: str) -> None:
    """From an allowed address, a redirect to a forbidden address, port or scheme is refused, and not asked for."""
    async with site() as running:
        running.redirect("/a", target.format(port=running.port))
        running.page("/secret", b"secret")
        names = Names(one_example=[["127.0.0.1"]], inside_example=[["10.0.0.1"]], localhost=[["127.0.0.1"]])
        allow = (ip_network("127.0.0.1/32"),)
        if "localhost" in target:
            names = Names(one_example=[["127.0.0.1"]], localhost=[["127.0.0.3"]])
        with pytest.raises(RefusedUrl):
            await fetch(local(running, allow=allow, resolver=names), f"http://one.example:{running.port}/a")
        assert len(running.requests) == 1


async def test_a_slow_body_ends_at_the_time_limit() -> None:
    """The limit is for the whole fetch, however steadily the bytes drip."""
    async with site() as running:
        running.page("/a.png", b"x", "Content-Type: image/png", length=10_000_000)
        running.endless = True
        started = time.monotonic()
        with pytest.raises(UnreachableUrl, match="longer than"):
            await fetch(local(running, timeout_s=0.5), f"http://127.0.0.1:{running.port}/a.png", 10_000_000)
        assert time.monotonic() - started < 3
        running.endless = False


@pytest.mark.slow
async def test_too_many_bytes_are_refused_as_they_come() -> None:
    """The bytes that arrive count, not the length that was promised; the limit itself is allowed."""
    async with site() as running:
        url = f"http://127.0.0.1:{running.port}/a.png"
        running.page("/a.png", b"x" * MAX)
        assert len((await fetch(local(running), url)).data) == MAX
        running.page("/a.png", b"x" * (MAX + 1))
        with pytest.raises(RefusedUrl, match="more than 100,000 bytes"):
            await fetch(local(running), url)
        running.answers["/a.png"] = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"
        running.endless = True
        with pytest.raises(RefusedUrl, match="more than 100,000 bytes"):
            await fetch(local(running, timeout_s=20), url)
        running.endless = False


async def test_packed_answers_are_not_unpacked() -> None:
    """A server that packs all the same is refused, so that a small answer can't become a large picture."""
    async with site() as running:
        running.page("/a.png", gzip.compress(b"x" * 10_000_000), "Content-Encoding: gzip", "Content-Type: image/png")
        with pytest.raises(RefusedUrl, match="packed"):
            await fetch(local(running), f"http://127.0.0.1:{running.port}/a.png")


@pytest.mark.parametrize(
    ("content_type", "fine"),
    [("image/webp", True), ("application/octet-stream", True), ("binary/octet-stream", True), ("", True),
     ("text/html; charset=utf-8", False), ("application/json", False), ("video/mp4", False)],
)  # fmt: skip
async def test_only_pictures_are_taken(content_type: str, fine: bool) -> None:
    """What its server calls a page or a film is refused; no type at all may be a picture."""
    async with site() as running:
        running.page("/a", b"bytes", *([f"Content-Type: {content_type}"] if content_type else []))
        url = f"http://127.0.0.1:{running.port}/a"
        if fine:
            assert (await fetch(local(running), url)).data == b"bytes"
        else:
            with pytest.raises(RefusedUrl, match="no picture"):
                await fetch(local(running), url)


@pytest.mark.parametrize(
    ("status", "retryable"),
    [("404 Not Found", False), ("403 Forbidden", False), ("204 No Content", False), ("206 Partial Content", False),
     ("500 Internal Server Error", True), ("503 Service Unavailable", True), ("429 Too Many Requests", True)],
)  # fmt: skip
async def test_other_answers_are_refused(status: str, retryable: bool) -> None:
    """The text names the status; a server in trouble may be asked again."""
    async with site() as running:
        running.page("/a", b"", status=status)
        with pytest.raises(RefusedUrl, match=status[:3]) as refusal:
            await fetch(local(running), f"http://127.0.0.1:{running.port}/a")
        assert refusal.value.retryable is retryable


async def test_unreachable_sites_are_told_apart() -> None:
    """An unknown host, a closed port and an answer that breaks off may work another time."""
    async with site() as running:
        port = running.port
        running.page("/a", b"half", length=100)
        with pytest.raises(UnreachableUrl):
            await fetch(local(running), f"http://127.0.0.1:{port}/a")
        with pytest.raises(UnreachableUrl, match="can't be found"):
            await fetch(local(running, resolver=Names()), f"http://nowhere.example:{port}/a")
    with pytest.raises(UnreachableUrl):
        await fetch(guarded(allow=LOOPBACK, ports={port}), f"http://127.0.0.1:{port}/a")


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for the name that nobody trusts yet, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}",
         "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


async def test_tls_wants_the_certificate_of_the_name(tmp_path: Path) -> None:
    """Although the connection goes to an address, the certificate is checked, and the server is told the name."""
    certificate, key = self_signed(tmp_path, "pictures.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    told: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: told.append(name)
    async with site(context) as running:
        running.page("/a", b"bytes", "Content-Type: image/png")
        names = Names(pictures_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
        with pytest.raises(UnreachableUrl, match="certificate"):
            await fetch(local(running, resolver=names), f"https://pictures.example:{running.port}/a")
        trusting = ssl.create_default_context(cafile=str(certificate))
        fetched = await fetch(
            local(running, resolver=names, tls=trusting), f"https://pictures.example:{running.port}/a"
        )
        assert fetched.data == b"bytes"
        assert told[-1] == "pictures.example"
        with pytest.raises(UnreachableUrl, match="certificate"):
            await fetch(local(running, resolver=names, tls=trusting), f"https://other.example:{running.port}/a")


@pytest.mark.fuzz
def test_any_url_is_refused_or_asked_for() -> None:
    """Of all texts, as the first URL and as the target of a redirect, none ends in another way than a refusal."""
    pieces = ["http:", "https:", "//", "///", "[", "]", "@", ":", "%", "?", "#", "\\", "\x00", "\n", " ", "127.0.0.1",
              "::1", "xn--", "ü", "💥", "\ud800", "..", "a", "0x7f", "%2f", "99999"]  # fmt: skip
    texts = strategies.lists(strategies.sampled_from(pieces) | strategies.text(max_size=3), max_size=12).map("".join)

    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError(f"{host}:{port}")

    async def ends(text: str) -> None:
        with pytest.raises(RefusedUrl):
            await fetch(guarded(resolver=nowhere, ports=range(65536)), text)

    @fuzz_settings
    @given(texts)
    def try_examples(text: str) -> None:
        base = httpx.URL("http://one.example/a")
        answer = httpx.Response(302, headers=[(b"Location", text.encode(errors="surrogatepass"))])
        try:
            text_of_target = _target(base, answer)
        except RefusedUrl:
            text_of_target = text
        for each in {text, text_of_target}:
            asyncio.run(ends(each))

    fuzz(try_examples)
