"""A topic that is deleted and made anew under a running worker, on the real broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from schemas.exit_codes import ExitCode
from tests.harness.live import QUICK, WITHOUT_RECONCILE, Live, until
from tests.harness.pictures import picture
from tests.harness.producers import outcomes, put, send, wait_for_outcomes
from tests.harness.reading import read_topic
from tests.harness.stack.minio import EventRoute
from tests.harness.stack.stack import Addresses
from tests.harness.waiting import until as until_async
from tests.integration.faults import as_text, committed

pytestmark = pytest.mark.timeout(300)

ROLES = ("ingest", "requests", "index")


@pytest.fixture
def live(
    all_servers: Addresses, twinlens_env: dict[str, str], event_route: EventRoute, tmp_path: Path
) -> Iterator[Live]:
    """An installation of this test's own, set up but not started; nothing is compared by itself.

    Only MinIO's durable target announces: the quick one loses events for a while after a topic of its was deleted.
    """
    once = {"TWINLENS_OBJECTS__NOTIFICATION_ARNS": json.dumps([event_route.durable_arn])}
    live = Live(all_servers, {**twinlens_env, **QUICK, **WITHOUT_RECONCILE, **once}, tmp_path)
    live.application.setup()
    yield live
    live.stop()


def test_a_topic_made_anew_is_read_from_its_beginning(live: Live) -> None:
    """Nothing is skipped that was sent since, though Faust drops what is below the place that it had read to.

    A worker to which the topic is given anew forgets that place; one that kept it notices, and ends with code 75.
    """
    live.start("ingest", "index")
    for number in range(12):
        live.put(f"before-{number}.png", picture(number))
    assert live.settles().total == 0
    until(lambda: committed(live, "index") >= 12, "the index worker has acknowledged")
    asyncio.run(_delete(live, "contents"))
    live.application.setup()
    for number in range(3):
        live.put(f"after-{number}.png", picture(100 + number))
    index = live.application.processes["index"]
    settled = live.settles()
    if index.exit_code is not None:
        assert index.exit_code == ExitCode.OUTAGE, index.log_end()
        live.start("index")
        settled = live.settles()
    assert settled.total == 0, as_text(settled.as_json())


def test_all_goes_on_in_other_topics_made_anew(live: Live) -> None:
    """Events, requests, outcomes and snapshots. An event that went with its topic, unread, is made up for: the worker
    that notices asks for a comparison.
    """
    live.start(*ROLES)
    _put_all(live, 0)
    send(live.place, [put("r-1", "requested.png", picture(50))])
    wait_for_outcomes(live.place, {"r-1"})
    assert live.settles().total == 0
    ingest = live.application.processes["ingest"].pid
    assert ingest is not None
    os.kill(ingest, signal.SIGSTOP)
    live.put("lost.png", picture(51))
    until(lambda: _is_announced(live, "lost.png"), "MinIO has announced it")
    asyncio.run(_delete(live, "bucket-events", "image-requests", "request-outcomes", "image-changes"))
    live.application.setup()
    os.kill(ingest, signal.SIGCONT)
    until(lambda: "made_anew" in _comparisons(live), "a comparison is asked for")
    _put_all(live, 100)
    send(live.place, [put("r-2", "requested.png", picture(52))])
    until(lambda: _is_answered(live, "r-2"), "a request is answered")
    until(lambda: _settled(live), "all is told, the lost event too")


def _is_announced(live: Live, key: str) -> bool:
    events = asyncio.run(read_topic(live.place, "bucket-events"))
    return any(key.encode() in (value or b"") for _, value in events)


def _comparisons(live: Live) -> set[object]:
    """Why any were asked for."""
    _start_again(live)
    return {line["reason"] for line in live.log_events("ingest") if line.get("event") == "reconcile_wanted"}


def _put_all(live: Live, first: int) -> None:
    for number in range(6):
        live.put(f"{number}.png", picture(first + number))


def _is_answered(live: Live, request_id: str) -> bool:
    _start_again(live)
    return request_id in outcomes(live.place)


def _settled(live: Live) -> bool:
    _start_again(live)
    return live.differences().total == 0


def _start_again(live: Live) -> None:
    """Start the workers that have noticed, as their supervisor does."""
    for role in ROLES:
        worker = live.application.processes[role]
        if worker.exit_code is not None:
            assert worker.exit_code == ExitCode.OUTAGE, worker.log_end()
            live.start(role)


async def _delete(live: Live, *topics: str) -> None:
    names = [f"{live.place.topic_prefix}{topic}" for topic in topics]
    client = AIOKafkaAdminClient(bootstrap_servers=live.place.kafka)
    await client.start()
    try:
        await client.delete_topics(names)
        await until_async(client.list_topics, lambda there: not {*names} & {*there})
    finally:
        await client.close()
