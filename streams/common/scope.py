"""How far a failure of the object store reaches: one object, its bucket, or the server.

A look at an object that fails says nothing about that by itself: MinIO answers AccessDenied to a forbidden prefix, and
also when its disk has gone. The bucket's own check decides::

    the look fails ─► check of the bucket ─┬─ fails ──────────────► ObjectStoreOutage: waited out
                                           ├─ gone, or denied ────► BucketOutage: the other buckets go on
                                           └─ succeeds, each time ► ObjectUnreadable: recorded, its neighbours go on
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from schemas.errors import TIMEOUT, ObjectStoreOutage, ObjectUnreadable, RequestRefused
from schemas.records import ObjectRef, ObjectState
from stores.objects.ports import ObjectReader

PAUSES_S: Final = (0.3, 1.0)
"""Before the second and the third look at an object that failed for a reason that may pass."""
CHECK_TIMEOUT_S: Final = 5.0
"""A server that accepts a check and does not answer it within this time is away."""
UNLISTED: Final = ("", 0, datetime.fromtimestamp(0, UTC))
"""ETag, size and Last-Modified of an object of which not even a listing tells."""


async def scoped[T](ref: ObjectRef, look: Callable[[], Awaitable[T]], objects: ObjectReader) -> T:
    """The result of a look at an object. The look must be safe to repeat: it is made three times at most, and once
    where the server lets us wait, for others wait with us.

    Raises ObjectUnreadable, BucketOutage, or ObjectStoreOutage of the server.
    """
    pauses = iter(PAUSES_S)
    while True:
        try:
            return await look()
        except RequestRefused as error:
            raise ObjectUnreadable(str(error), code="InvalidObjectName") from error
        except ObjectStoreOutage as error:
            await check_bucket(ref.bucket, objects)
            pause = next(pauses, None)
            if error.definite or error.code == TIMEOUT or pause is None:
                raise ObjectUnreadable(str(error), code=error.code) from error
        await asyncio.sleep(pause)


async def check_bucket(bucket: str, objects: ObjectReader) -> None:
    """Raises BucketOutage, or ObjectStoreOutage where the server does not answer as it should, in time."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await objects.check(bucket)
    except TimeoutError as error:
        raise ObjectStoreOutage(f"look at bucket {bucket}: no answer within {CHECK_TIMEOUT_S:g} s") from error


async def scoped_to_bucket[T](bucket: str, call: Callable[[], Awaitable[T]], objects: ObjectReader) -> T:
    """The result of a call about a bucket. Raises BucketOutage, or any other ObjectStoreOutage that the call raised."""
    try:
        return await call()
    except ObjectStoreOutage:
        await check_bucket(bucket, objects)
        raise


async def listed(ref: ObjectRef, objects: ObjectReader) -> ObjectState | None:
    """The object's state as a listing tells it, which needs no look at the object itself; None if it isn't there.

    A server that refuses the key itself has no such object. Where a listing is denied, the object is taken to be there:
    what can't be seen is not gone. Raises BucketOutage, or ObjectStoreOutage of the server.
    """

    async def look() -> ObjectState | None:
        try:
            # Of all keys with this beginning, the key itself comes first.
            found = await anext(objects.list(ref.bucket, prefix=ref.key), None)
        except RequestRefused:
            return None
        return found if found is not None and found.ref == ref else None

    try:
        return await scoped(ref, look, objects)
    except ObjectUnreadable:
        return ObjectState(ref, *UNLISTED)
