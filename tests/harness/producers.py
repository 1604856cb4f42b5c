"""External producers and consumers in plain aiokafka, for the end-to-end tests."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.harness.live import PATIENCE_SECONDS
from tests.harness.reading import Place, read_topic

RESENT_SECONDS = 20.0
"""After so long a producer asks again; with the same id, so that it happens once."""


class Request(NamedTuple):
    """A message for the topic of requests."""

    value: bytes
    key: bytes
    headers: Mapping[str, bytes] = {}


def put(request_id: str, key: str, data: bytes, **more: Any) -> Request:
    """A put in the JSON form."""
    content = base64.b64encode(data).decode()
    fields = {"schema": 1, "request_id": request_id, "op": "put", "key": key, "content_base64": content, **more}
    return Request(json.dumps(fields).encode(), key.encode())


def raw(request_id: str, key: str, data: bytes) -> Request:
    """A put in the raw form."""
    headers = {"request-id": request_id.encode(), "key": key.encode(), "content-type": b"image/png"}
    return Request(data, key.encode(), headers)


def look(request_id: str, key: str) -> Request:
    """A look at a key."""
    return Request(json.dumps({"request_id": request_id, "op": "look", "key": key}).encode(), key.encode())


def send(place: Place, *producers: Sequence[Request], limit: int = 16 * 1024 * 1024) -> None:
    """Each sequence by a producer of its own, all at the same time; `limit`: bytes that the client itself takes."""

    async def produce(requests: Sequence[Request]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=place.kafka, acks="all", max_request_size=limit)
        try:
            await producer.start()
            sent = [
                await producer.send(
                    f"{place.topic_prefix}image-requests",
                    request.value,
                    key=request.key,
                    headers=list(request.headers.items()),
                )
                for request in requests
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def produce_all() -> None:
        await asyncio.gather(*[produce(requests) for requests in producers])

    asyncio.run(produce_all())


def outcomes(place: Place) -> dict[str, set[bytes]]:
    """The distinct outcome messages of each request id, from the start of the topic."""
    found: dict[str, set[bytes]] = {}
    for key, value in asyncio.run(read_topic(place, "request-outcomes")):
        if key is not None and value is not None:
            found.setdefault(key.decode(), set()).add(value)
    return found


def wait_for_outcomes(place: Place, request_ids: AbstractSet[str], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return when each of the requests has an outcome; fail at the deadline and name some that have none."""
    deadline = time.monotonic() + seconds
    while missing := request_ids - outcomes(place).keys():
        assert time.monotonic() < deadline, f"{len(missing)} of {len(request_ids)} wait: {sorted(missing)[:20]}"
        time.sleep(1)


def answered(place: Place, request: Request) -> bool:
    """Send a request in the raw form; whether it has an outcome soon. To be tried again, also while Kafka is away."""
    try:
        send(place, [request])
        wait_for_outcomes(place, {request.headers["request-id"].decode()}, seconds=RESENT_SECONDS)
    except (KafkaError, OSError, AssertionError):
        return False
    return True


def last_snapshots(place: Place) -> dict[str, dict[str, Any]]:
    """What a consumer knows that keeps the last snapshot of each key: by key, without what was removed."""
    last: dict[str, dict[str, Any]] = {}
    for key, value in asyncio.run(read_topic(place, "image-changes")):
        if value is None:
            last.pop((key or b"").decode().partition("/")[2], None)
        else:
            snapshot = json.loads(value)
            last[snapshot["key"]] = snapshot
    return {key: snapshot for key, snapshot in last.items() if snapshot["state"] != "removed"}
