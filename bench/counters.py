"""What the servers themselves have counted: SQL statements, Kafka messages, calls to the object store."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Self

import asyncmy
import httpx
from aiokafka import AIOKafkaConsumer
from sqlalchemy import make_url

from schemas.topics import Topics

STATEMENTS = ("select", "insert", "update", "delete", "commit", "rollback")
_S3_CALL = re.compile(r'^minio_api_requests_total\{name="(?P<call>[^"]+)"[^}]*\} (?P<count>\S+)$', re.MULTILINE)
_S3_TOKEN_S = 3600


class Catalog:
    """The SQL tables, read with plain statements on one connection; those are not among what it says was asked.

    To be called from one thread, outside any event loop.
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._runner = asyncio.Runner()
        self._connection: Any = None
        self._asked: Counter[str] = Counter()

    def row(self, statement: str, *values: object) -> tuple[Any, ...]:
        """The first row of the answer."""
        return self._runner.run(self._query(statement, values))[0]

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of the answer."""
        return self._runner.run(self._query(statement, values))

    def indexed(self) -> int:
        """How many contents are indexed."""
        return int(self.row("SELECT COUNT(*) FROM contents WHERE state = 'indexed'")[0])

    def contents(self) -> int:
        """How many contents there are, in whatever state."""
        return int(self.row("SELECT COUNT(*) FROM contents")[0])

    def images(self) -> int:
        """How many images there are, in whatever state; removed ones, which wait for their tombstone, are none."""
        return int(self.row("SELECT COUNT(*) FROM images WHERE etag IS NOT NULL OR version <> published_version")[0])

    def pending(self) -> int:
        """How much is marked as still to be done: contents to look at, images to publish."""
        contents = "(SELECT COUNT(*) FROM contents WHERE dirty_since IS NOT NULL)"
        images = (
            "(SELECT COUNT(*) FROM images WHERE publish_due IS NOT NULL"
            " AND (etag IS NOT NULL OR version <> published_version))"
        )
        return int(self.row(f"SELECT {contents} + {images}")[0])

    def statements(self) -> Counter[str]:
        """The statements that the server has got from others, by kind, and ``all`` of them."""
        rows = self.rows("SHOW GLOBAL STATUS WHERE Variable_name = 'Questions' OR Variable_name LIKE 'Com\\_%'")
        status = {name.lower(): int(value) for name, value in rows if str(value).isdigit()}
        found = Counter({kind: status[f"com_{kind}"] for kind in STATEMENTS})
        found["select"] -= self._asked["select"]
        found["all"] = status["questions"] - self._asked.total()
        return found

    async def _query(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            at = self._url
            self._connection = await asyncmy.connect(
                host=at.host, port=at.port, user=at.username, password=at.password, db=at.database, autocommit=True
            )
        self._asked[statement.partition(" ")[0].lower()] += 1
        async with self._connection.cursor() as cursor:
            await cursor.execute(statement, values or None)
            return list(await cursor.fetchall())

    def forget_connection(self) -> None:
        """Connect anew for the next statement, since the server was away."""
        self._connection = None

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
        self._runner.close()


@dataclass(frozen=True, slots=True)
class Counts:
    """Counted since the servers' start: statements by kind, messages by topic (without prefix), S3 calls by name."""

    statements: Counter[str]
    messages: Counter[str]
    s3_calls: Counter[str]

    @classmethod
    def between(cls, begin: Counts, end: Counts) -> Self:
        """The difference."""
        return cls(end.statements - begin.statements, end.messages - begin.messages, end.s3_calls - begin.s3_calls)


def counts(catalog: Catalog, kafka: str, topic_prefix: str, s3: str, keys: tuple[str, str]) -> Counts:
    """All of it now."""
    return Counts(catalog.statements(), asyncio.run(messages(kafka, topic_prefix)), s3_calls(s3, *keys))


async def messages(kafka: str, topic_prefix: str) -> Counter[str]:
    """How many messages each topic has got, by its name without the prefix."""
    topics = Topics(topic_prefix)
    names = [topics.bucket_events, topics.contents, topics.image_changes, topics.request_outcomes, topics.dead_letters]
    consumer = AIOKafkaConsumer(*names, bootstrap_servers=kafka)
    await consumer.start()
    try:
        found: Counter[str] = Counter()
        for partition, end in (await consumer.end_offsets(consumer.assignment())).items():
            found[partition.topic.removeprefix(topic_prefix)] += end
        return found
    finally:
        await consumer.stop()


def s3_calls(address: str, access_key: str, secret_key: str) -> Counter[str]:
    """The S3 calls that MinIO has answered, by its names for them. Its metrics want a token signed with the key."""
    claims = {"sub": access_key, "iss": "prometheus", "exp": int(time.time()) + _S3_TOKEN_S}
    unsigned = b".".join(_base64url(json.dumps(part).encode()) for part in ({"alg": "HS512", "typ": "JWT"}, claims))
    signature = _base64url(hmac.digest(secret_key.encode(), unsigned, hashlib.sha512))
    token = b".".join((unsigned, signature)).decode()
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(f"http://{address}/minio/metrics/v3/api/requests", headers=headers, timeout=30)
    answer.raise_for_status()
    return parse_s3_calls(answer.text)


def parse_s3_calls(metrics: str) -> Counter[str]:
    """The calls by name, from MinIO's ``/minio/metrics/v3/api/requests``."""
    return Counter({found["call"]: int(float(found["count"])) for found in _S3_CALL.finditer(metrics)})


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
