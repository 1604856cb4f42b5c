"""Objects in MinIO or another S3 server: read by aiohttp, everything else by minio-py in threads of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import timedelta
from itertools import islice
from typing import Final

import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.error import S3Error

from schemas.errors import BucketOutage, ObjectStoreOutage, PreconditionFailed
from schemas.records import ObjectRef, ObjectState
from schemas.settings import ObjectSettings
from stores.objects.keys import checked_bucket, checked_ref
from stores.objects.ports import Sink
from stores.objects.s3_answers import put_headers, state_of_listing
from stores.objects.s3_buckets import ensure_bucket, ensure_notifications
from stores.objects.s3_errors import translated_s3_errors
from stores.objects.s3_reading import S3Reading

PAGE: Final = 1000
_LONGEST_LINK: Final = timedelta(days=7)


class S3Objects:
    """An ObjectWriter on one S3 server. ``at_once`` is the number of heads and reads, and of other calls, that can run.

    Nothing is tried again here: who calls decides how long an outage is waited out. One event loop can use it.
    """

    def __init__(self, settings: ObjectSettings, *, at_once: int = 16) -> None:
        self._notification_arns = settings.notification_arns if settings.notifications == "kafka" else ()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="s3")
        # OpenSSL's own list of authorities: the system's, or the one that SSL_CERT_FILE names.
        trust = ssl.create_default_context() if settings.secure else None
        self._reading = S3Reading(settings, at_once=at_once, trust=trust)
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=settings.timeout_s, read=settings.timeout_s),
            maxsize=at_once,
            retries=False,
            ssl_context=trust,
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
        await self._reading.close()

    async def head(self, ref: ObjectRef) -> ObjectState | None:
        """See ObjectReader."""
        return await self._reading.head(checked_ref(ref))

    async def read(self, ref: ObjectRef, sink: Sink, *, max_bytes: int) -> ObjectState | None:
        """See ObjectReader. ``sink`` is called in the event loop's thread."""
        return await self._reading.read(checked_ref(ref), sink, max_bytes=max_bytes)

    async def stream(
        self, ref: ObjectRef, *, offset: int = 0, length: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        """See ObjectReader. A range beyond the end is empty."""
        async with aclosing(self._reading.stream(checked_ref(ref), offset, length, etag)) as pieces:
            async for piece in pieces:
                yield piece

    async def list(self, bucket: str, *, prefix: str = "", start_after: str = "") -> AsyncIterator[ObjectState]:
        """See ObjectReader. One page of 1,000 is in memory at a time."""
        found = self._client.list_objects(
            checked_bucket(bucket), prefix=prefix, recursive=True, start_after=start_after or None
        )

        def page() -> tuple[Object, ...]:
            with translated_s3_errors(f"list {bucket}"):
                return tuple(islice(found, PAGE))

        while objects := await self._run(page):
            for item in objects:
                yield state_of_listing(bucket, item)

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
        await self._run(lambda: ensure_bucket(self._client, bucket))
        await self.ensure_announced(bucket)

    async def ensure_announced(self, bucket: str) -> bool:
        """See ObjectWriter."""
        checked_bucket(bucket)
        return await self._run(lambda: ensure_notifications(self._client, bucket, self._notification_arns))

    async def _run[T](self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _check(self, bucket: str) -> None:
        try:
            with translated_s3_errors(f"look at bucket {bucket}"):
                found = self._client.bucket_exists(bucket)
        except ObjectStoreOutage as error:
            if error.definite:
                raise BucketOutage(str(error), bucket=bucket) from error
            raise
        if not found:
            raise BucketOutage(f"the bucket {bucket} is not there", bucket=bucket)

    def _put(self, ref: ObjectRef, data: bytes, headers: Mapping[str, str]) -> str:
        with translated_s3_errors(f"PUT {ref}"):
            try:
                # minio-py has no public way to send If-Match or If-None-Match with a PUT (7.2.20).
                result = self._client._put_object(ref.bucket, ref.key, data, dict(headers))  # noqa: SLF001
            except S3Error as error:
                if error.code == "NoSuchKey":
                    raise PreconditionFailed(f"{ref} is gone") from error
                raise
        return result.etag or ""

    def _delete(self, ref: ObjectRef) -> None:
        with translated_s3_errors(f"DELETE {ref}"):
            self._client.remove_object(ref.bucket, ref.key)
