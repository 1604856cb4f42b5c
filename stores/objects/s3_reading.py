"""HEAD and GET of objects on an S3 server: by aiohttp, signed by minio-py's signer.

Workers ask for an object several times a picture. minio-py costs 0.8 ms of CPU a request, in threads that compete with
everything else for the interpreter; this costs 0.2 ms.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import aiohttp
from minio.credentials.credentials import Credentials
from minio.helpers import BaseURL, DictType, sha256_hash
from minio.signer import sign_v4_s3
from minio.time import to_amz_date, utcnow
from yarl import URL

from schemas.errors import ObjectTooLarge, PreconditionFailed
from schemas.records import ObjectRef, ObjectState
from schemas.settings import ObjectSettings
from stores.objects.ports import Sink
from stores.objects.s3_answers import complaint_of, state_of
from stores.objects.s3_errors import ERROR_CODE_HEADER, error_of, translated_s3_errors

MISSING: Final = "NoSuchKey"
"""S3's code for a missing object in a bucket that exists."""
_FOUND: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
_NO_BODY: Final = sha256_hash(b"")
_LONGEST_HEADER: Final = 64 * 1024
_MOST_OF_AN_ERROR: Final = 64 * 1024
_STREAM_BUFFER: Final = 64 * 1024
"""Bytes held for a client of a stream who is slow to take them; twice as many at most."""


class S3Reading:
    """What an S3 server has under a key. ``at_once`` is the number of heads and reads that can run at a time.

    Streams aren't counted: their clients may take as long as they like. There is one time limit for connecting, and one
    for each wait for bytes: ``stall_s`` for heads and reads, for which others wait, ``timeout_s`` for streams. aiohttp
    sends a request a second time if the connection breaks before any answer, as a connection does that the server has
    just given up.
    """

    def __init__(self, settings: ObjectSettings, *, at_once: int, trust: ssl.SSLContext | None) -> None:
        self._base = BaseURL(f"{'https' if settings.secure else 'http'}://{settings.endpoint}", settings.region)
        self._region = settings.region
        self._credentials = Credentials(settings.access_key, settings.secret_key.get_secret_value())
        self._prompt = aiohttp.ClientTimeout(total=None, sock_connect=settings.timeout_s, sock_read=settings.stall_s)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.timeout_s, sock_read=settings.timeout_s)
        self._trust = trust
        self._gate = asyncio.Semaphore(at_once)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections, also those in use."""
        if self._session is not None:
            await self._session.close()

    async def head(self, ref: ObjectRef) -> ObjectState | None:
        """See ObjectReader. A missing object costs one request where the server tells the error's code, else two."""
        async with self._gate:
            async with self._answer("HEAD", ref) as answer:
                if answer.status in _FOUND:
                    return state_of(ref, answer)
                code = answer.headers.get(ERROR_CODE_HEADER)
                if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or code is not None:
                    _raise_unless_missing(answer, code, f"HEAD {ref}: HTTP {answer.status}: {code}")
                    return None
            # Without a code, the answer to a HEAD can't tell a missing object from a missing bucket; a GET's can.
            async with self._answer("GET", ref) as answer:
                if answer.status in _FOUND:
                    return state_of(ref, answer)
                _raise_unless_missing(answer, *await _complaint(answer, ref))
                return None

    async def read(self, ref: ObjectRef, sink: Sink, *, max_bytes: int) -> ObjectState | None:
        """See ObjectReader. ``sink`` is called in the event loop's thread."""
        async with self._gate, self._answer("GET", ref) as answer:
            if answer.status not in _FOUND:
                _raise_unless_missing(answer, *await _complaint(answer, ref))
                return None
            state = state_of(ref, answer)
            if state.size > max_bytes:
                raise ObjectTooLarge(f"{ref} has {state.size:,} bytes; {max_bytes:,} are allowed")
            while piece := await _next_piece(answer, ref):
                sink(piece)
            return state

    async def stream(self, ref: ObjectRef, offset: int, length: int | None, etag: str | None) -> AsyncGenerator[bytes]:
        """See ObjectReader. A range beyond the end is empty."""
        if length == 0:
            return
        async with self._answer("GET", ref, _range_headers(offset, length, etag)) as answer:
            if answer.status not in _FOUND:
                code, what = await _complaint(answer, ref)
                if code == "InvalidRange":
                    return
                raise PreconditionFailed(f"{ref} is gone") if code == MISSING else error_of(answer.status, code, what)
            while piece := await _next_piece(answer, ref):
                yield piece

    @asynccontextmanager
    async def _answer(
        self, method: str, ref: ObjectRef, more: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to one request; its connection is kept if the answer was read to its end, and cut if not."""
        url, headers = self._signed(method, ref, more or {})
        with translated_s3_errors(f"{method} {ref}"):
            answer = await self._opened().request(
                method,
                url,
                headers=headers,
                allow_redirects=False,
                read_bufsize=None if more is None else _STREAM_BUFFER,
                timeout=self._prompt if more is None else self._timeout,
            )
        try:
            yield answer
        finally:
            answer.release()

    def _signed(self, method: str, ref: ObjectRef, more: Mapping[str, str]) -> tuple[URL, Mapping[str, str]]:
        url = self._base.build(method=method, region=self._region, bucket_name=ref.bucket, object_name=ref.key)
        now = utcnow()
        headers: DictType = {
            **more,
            "Host": url.netloc,
            "x-amz-content-sha256": _NO_BODY,
            "x-amz-date": to_amz_date(now),
        }
        signed = sign_v4_s3(
            method=method,
            url=url,
            region=self._region,
            headers=headers,
            credentials=self._credentials,
            content_sha256=_NO_BODY,
            date=now,
        )
        # The signature is of exactly these bytes of the path, and so they must not be quoted anew.
        return URL(url.geturl(), encoded=True), {name: str(value) for name, value in signed.items()}

    def _opened(self) -> aiohttp.ClientSession:
        """The session, opened by the first request, since it belongs to the event loop that runs then."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._trust or True),
                # Bytes are wanted as they are stored: neither packed by the server nor unpacked here.
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                max_line_size=_LONGEST_HEADER,
                max_field_size=_LONGEST_HEADER,
            )
        return self._session


def _range_headers(offset: int, length: int | None, etag: str | None) -> dict[str, str]:
    headers = {"If-Match": f'"{etag}"'} if etag else {}
    if offset or length is not None:
        headers["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
    return headers


def _raise_unless_missing(answer: aiohttp.ClientResponse, code: str | None, what: str) -> None:
    """Raise what the server's error means, unless the object alone is missing."""
    if (answer.status, code) != (HTTPStatus.NOT_FOUND, MISSING):
        raise error_of(answer.status, code, what)


async def _complaint(answer: aiohttp.ClientResponse, ref: ObjectRef) -> tuple[str | None, str]:
    """The S3 error code of an answer to a GET, if it has one, and a text about it."""
    body = bytearray()
    while len(body) < _MOST_OF_AN_ERROR and (piece := await _next_piece(answer, ref)):
        body += piece
    code, text = complaint_of(answer, bytes(body))
    return code, f"GET {ref}: {text}"


async def _next_piece(answer: aiohttp.ClientResponse, ref: ObjectRef) -> bytes:
    """The bytes that have come, or none at the end. Raises ObjectStoreOutage if the answer breaks off."""
    with translated_s3_errors(f"GET {ref}"):
        return await answer.content.readany()
