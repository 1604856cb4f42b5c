"""A catalog of many rows on MySQL, filled by a few statements, and how many rows a query reads there."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schemas.records import ContentId, ObjectRef

BUCKET: Final = "pictures"
POPULAR: Final = 2_000
"""Objects that have the bytes of content 0."""
FOLDER: Final = 100
"""Objects in a folder."""

_NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)"
_STATE = "CASE n % 1000 WHEN 1 THEN 'pending' WHEN 2 THEN 'rejected' ELSE 'indexed' END"
_FILL = (
    f"""INSERT INTO contents (bucket, sha256, vector_id, state, md5, reason, attempts, version, dirty_since, resend_due,
        format, nearest, created_at, indexed_at, objects)
    {_NUMBERS} SELECT 'pictures', sha2(n, 256), n, {_STATE}, left(sha2(n, 256), 32),
        IF(n % 1000 = 2, 'broken: it is', NULL), 0, 1,
        IF(n % 1000 = 1, '2026-01-01' + INTERVAL n SECOND, NULL), IF(n % 1000 = 1, '2026-01-02', NULL),
        IF(n % 100 = 3, 'png', 'jpeg'), '[]', '2026-01-01' + INTERVAL n SECOND, '2026-01-01' + INTERVAL n SECOND,
        IF(n = 0, {POPULAR}, n >= {POPULAR})
    FROM numbers""",
    f"""INSERT INTO images (id, bucket, object_key, external_id, content_sha256, etag, size, last_modified,
        content_type, metadata, version, published_version, published_state, publish_due, created_at, updated_at, state)
    {_NUMBERS}, named AS (
        SELECT n, concat(lpad(floor(n / {FOLDER}), 8, '0'), '/', n) AS name,
            sha2(IF(n < {POPULAR}, 0, n), 256) AS digest,
            IF(n < {POPULAR}, 'indexed', {_STATE}) AS state FROM numbers
    ) SELECT left(sha2(concat('pictures/', name), 256), 32), 'pictures', name, concat('id-', n), digest, 'e', n,
        '2026-01-01', 'image/jpeg', '{{}}', 1, 1,
        concat(state, ':', digest, ':', IF(state = 'rejected', 'broken: it is', '')),
        IF(n % 1000 = 1, '2026-01-02', NULL),
        '2026-01-01' + INTERVAL n SECOND, '2026-01-01', state FROM named""",
)
MINUTES: Final = 24 * 60
_FILL_MINUTES = f"""INSERT INTO counts (kind, bucket, label, number, bytes) {_NUMBERS}
    SELECT 'indexed', 'pictures', date_format('2026-01-31' + INTERVAL n MINUTE, '%Y-%m-%dT%H:%i'), 3472, 0
    FROM numbers"""
"""Five million images in the last day."""


async def fill(connection: AsyncConnection, count: int) -> None:
    """Put so many contents and as many images into an empty catalog; one in a thousand is pending, one rejected."""
    for setting in (
        "GLOBAL innodb_redo_log_capacity = 1024 * 1024 * 1024",
        "GLOBAL innodb_buffer_pool_size = 512 * 1024 * 1024",
        "SESSION foreign_key_checks = 0",
        "SESSION unique_checks = 0",
        f"SESSION cte_max_recursion_depth = {count + 1}",
    ):
        await connection.execute(text(f"SET {setting}"))
    for statement in _FILL:
        await connection.execute(text(statement), {"count": count})
    await connection.execute(text(_FILL_MINUTES), {"count": MINUTES})
    await connection.execute(text("ANALYZE TABLE contents, images"))


def ref(number: int) -> ObjectRef:
    """One of the objects."""
    return ObjectRef(BUCKET, f"{number // FOLDER:08}/{number}")


def content_id(number: int) -> ContentId:
    """One of the contents."""
    return ContentId(BUCKET, hashlib.sha256(str(number).encode()).hexdigest())


async def rows_read(engine: AsyncEngine, query: Callable[[], Awaitable[object]]) -> int:
    """The rows, and entries of an index, that the server reads for a query. The engine has one connection.

    MySQL doesn't count the entries of an index that it passes over by a condition which it tests within the index. So
    it may not do that here: it reads the rows then, and drops them, and they count.
    """
    async with engine.connect() as connection:
        await connection.execute(text("SET SESSION optimizer_switch = 'index_condition_pushdown=off'"))
        await connection.execute(text("FLUSH STATUS"))
    await query()
    async with engine.connect() as connection:
        rows = await connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'"))
        return sum(int(value) for _, value in rows)
