"""Objects in MinIO or another S3 server, by minio-py in threads of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http import HTTPStatus
from itertools import islice
from typing import Final

import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.error import S3Error

from schemas.errors import ObjectStoreOutage, ObjectTooLarge, PreconditionFailed
from schemas.records import ObjectRef, ObjectState
from schemas.settings import ObjectSettings
from stores.objects.keys import checked_bucket, checked_ref
from stores.objects.ports import Sink
from stores.objects.s3_answers import Response, give_back, listed_state, next_piece, put_headers, state_of
from stores.objects.s3_buckets import ensure_announced_bucket
from stores.objects.s3_errors import translated

PAGE: Final = 1000
_LONGEST_LINK: Final = timedelta(days=7)


class S3Objects:
    """An ObjectWriter on one S3 server. ``threads`` is the number of requests that can run at once.

    Nothing is tried again here: who calls decides how long an outage is waited out.
    """

    def __init__(self, settings: ObjectSettings, *, threads: int = 16) -> None:
        self._notification_arns = settings.notification_arns
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="s3")
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=settings.timeout_s, read=settings.timeout_s),
            maxsize=threads,
            retries=False,
        )
        self._client = Minio(
            settings.endpoint,
            access_key=settings.access_key,
            secret_key=settings.secret_key.get_secret_value(),
            secure=settings.secure,
            region=settings.region,
            http_client=self._http,
        )

    async def close(self) -> None:
        """Give back the connections; requests under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    async def head(self, ref: ObjectRef) -> ObjectState | None:
        """See ObjectReader."""
        checked_ref(ref)
        return await self._run(lambda: self._head(ref))

    async def read(self, ref: ObjectRef, sink: Sink, *, max_bytes: int) -> ObjectState | None:
        """See ObjectReader. ``sink`` is called in a thread, and no more once the call was cancelled."""
        checked_ref(ref)
        abandoned = threading.Event()
        try:
            return await self._run(lambda: self._read(ref, sink, max_bytes, abandoned))
        finally:
            abandoned.set()

    async def stream(
        self, ref: ObjectRef, *, offset: int = 0, length: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        """See ObjectReader. A range beyond the end is empty."""
        checked_ref(ref)
        if length == 0:
            return
        response = await self._run(lambda: self._open_range(ref, offset, length, etag))
        if response is None:
            return
        try:
            while piece := await self._run(lambda: next_piece(response, ref)):
                yield piece
        finally:
            give_back(response)

    async def list(self, bucket: str, *, prefix: str = "", start_after: str = "") -> AsyncIterator[ObjectState]:
        """See ObjectReader. One page of 1,000 is in memory at a time."""
        found = self._client.list_objects(
            checked_bucket(bucket), prefix=prefix, recursive=True, start_after=start_after or None
        )

        def page() -> tuple[Object, ...]:
            with translated(f"list {bucket}"):
                return tuple(islice(found, PAGE))

        while objects := await self._run(page):
            for item in objects:
                yield listed_state(bucket, item)

    async def presigned_url(self, ref: ObjectRef, *, expires_s: int, content_type: str) -> str | None:
        """See ObjectReader. At most a week, which is S3's limit."""
        checked_ref(ref)
        answer: dict[str, str | list[str] | tuple[str]] = {
            "response-content-type": content_type,
            "response-content-disposition": "inline",
        }
        lifetime = min(timedelta(seconds=expires_s), _LONGEST_LINK)
        return self._client.get_presigned_url("GET", ref.bucket, ref.key, lifetime, response_headers=answer)

    async def check(self, bucket: str) -> None:
        """See ObjectReader."""
        checked_bucket(bucket)
        await self._run(lambda: self._check(bucket))

    async def put(
        self,
        ref: ObjectRef,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> str:
        """See ObjectWriter. Raises RequestRefused for what HTTP headers can't carry."""
        checked_ref(ref)
        headers = put_headers(content_type, metadata or {})
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        if if_absent:
            headers["If-None-Match"] = "*"
        return await self._run(lambda: self._put(ref, data, headers))

    async def delete(self, ref: ObjectRef) -> None:
        """See ObjectWriter."""
        checked_ref(ref)
        await self._run(lambda: self._delete(ref))

    async def ensure_bucket(self, bucket: str) -> None:
        """See ObjectWriter. Raises ConfigurationError if the server doesn't know the notification target."""
        checked_bucket(bucket)
        await self._run(lambda: ensure_announced_bucket(self._client, bucket, self._notification_arns))

    async def _run[T](self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _head(self, ref: ObjectRef) -> ObjectState | None:
        with translated(f"HEAD {ref}"):
            try:
                return state_of(ref, self._client.stat_object(ref.bucket, ref.key).metadata or {})
            except S3Error as error:
                if error.response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
        # The answer to a HEAD has no body and can't tell a missing object from a missing bucket; a GET's can.
        response = self._get(ref)
        if response is None:
            return None
        try:
            return state_of(ref, response.headers)
        finally:
            give_back(response)

    def _get(self, ref: ObjectRef) -> Response | None:
        with translated(f"GET {ref}"):
            try:
                return self._client.get_object(ref.bucket, ref.key)
            except S3Error as error:
                if error.code == "NoSuchKey":
                    return None
                raise

    def _read(self, ref: ObjectRef, sink: Sink, max_bytes: int, abandoned: threading.Event) -> ObjectState | None:
        response = self._get(ref)
        if response is None:
            return None
        try:
            state = state_of(ref, response.headers)
            if state.size > max_bytes:
                raise ObjectTooLarge(f"{ref} has {state.size:,} bytes; {max_bytes:,} are allowed")
            left = state.size
            while not abandoned.is_set() and (piece := next_piece(response, ref)):
                sink(piece)
                left -= len(piece)
        finally:
            give_back(response)
        if left:
            raise ObjectStoreOutage(f"GET {ref}: the answer ended {left:,} bytes too early")
        return state

    def _open_range(self, ref: ObjectRef, offset: int, length: int | None, etag: str | None) -> Response | None:
        condition: dict[str, str | list[str] | tuple[str]] = {"If-Match": f'"{etag}"'} if etag else {}
        with translated(f"GET {ref}"):
            try:
                return self._client.get_object(
                    ref.bucket, ref.key, offset=offset, length=length or 0, request_headers=condition
                )
            except S3Error as error:
                if error.code == "InvalidRange":
                    return None
                if error.code == "NoSuchKey":
                    raise PreconditionFailed(f"{ref} is gone") from error
                raise

    def _check(self, bucket: str) -> None:
        with translated(f"look at bucket {bucket}"):
            if not self._client.bucket_exists(bucket):
                raise ObjectStoreOutage(f"the bucket {bucket} is not there")

    def _put(self, ref: ObjectRef, data: bytes, headers: Mapping[str, str]) -> str:
        with translated(f"PUT {ref}"):
            try:
                # minio-py has no public way to send If-Match or If-None-Match with a PUT (7.2.20).
                result = self._client._put_object(ref.bucket, ref.key, data, dict(headers))  # noqa: SLF001
            except S3Error as error:
                if error.code == "NoSuchKey":
                    raise PreconditionFailed(f"{ref} is gone") from error
                raise
        return result.etag or ""

    def _delete(self, ref: ObjectRef) -> None:
        with translated(f"DELETE {ref}"):
            self._client.remove_object(ref.bucket, ref.key)
