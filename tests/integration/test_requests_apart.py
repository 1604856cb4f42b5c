"""Producers' requests on the real servers: done once whatever is killed, with no other net, and apart from pictures."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from streams.requests.batches import BUCKET_WAITED_FOR
from tests.harness.live import WITHOUT_RECONCILE, Live, until
from tests.harness.pictures import picture
from tests.harness.producers import Request, look, outcomes, put, send, wait_for_outcomes
from tests.harness.reading import read_topic
from tests.harness.stack.stack import Stack
from tests.integration.faults import REQUEST_STEPS, committed, crashing, expel_dead, installed
from tests.integration.planted_worker import ACKNOWLEDGED_FIRST, with_planted
from tests.integration.reader import Reader

pytestmark = pytest.mark.timeout(600)

WITHOUT_SWEEP = WITHOUT_RECONCILE | {"TWINLENS_SWEEP__FIRST_WAIT_S": "3600", "TWINLENS_SWEEP__MAX_WAIT_S": "3600"}
HOSTS, DEAD_URLS = 24, 48
PICTURES = 4


def test_a_request_killed_at_each_of_its_steps_is_carried_out_once(private_stack: Stack, tmp_path: Path) -> None:
    """One PUT and one outcome, by redelivery alone: nothing is swept, and nothing compared."""
    with installed(private_stack, tmp_path, WITHOUT_SWEEP) as live:
        live.s3.set_bucket_versioning(live.bucket, VersioningConfig(ENABLED))
        send(live.place, [put("r-1", "a.png", picture(1))])
        for step in REQUEST_STEPS:
            doomed = crashing(live, step).application.processes["requests"]
            doomed.launch()
            until(lambda doomed=doomed: doomed.exit_code is not None, f"the worker reaches {step}")  # type: ignore[misc]
            assert doomed.exit_code == -signal.SIGKILL, f"{step}: {doomed.log_end()}"
            expel_dead(live, "requests")
        assert committed(live, "requests") == 0
        _finish(live)
        versions = list(live.s3.list_objects(live.bucket, prefix="a.png", include_version=True))
        assert len(versions) == 1
        [outcome] = outcomes(live.place)["r-1"]
        assert json.loads(outcome)["outcome"] == "stored"


def test_finds_a_request_that_is_acknowledged_before_it_is_done(private_stack: Stack, tmp_path: Path) -> None:
    """The test above can fail: with such an agent, a request that meets an outage is never answered."""
    with installed(private_stack, tmp_path, WITHOUT_SWEEP) as live:
        send(live.place, [put("r-1", "a.png", picture(1))])
        private_stack.kill("minio")
        worker = live.with_program(with_planted(ACKNOWLEDGED_FIRST)).application.processes["requests"]
        worker.launch()
        until(lambda: committed(live, "requests") > 0, "the request is acknowledged")
        worker.kill()
        private_stack.start("minio")
        _finish(live)
        assert "r-1" not in outcomes(live.place)


def _finish(live: Live) -> None:
    """Have a worker do what waits; a request for the same key that comes after it says when that is."""
    send(live.place, [look("last", "a.png")])
    live.start("requests")
    wait_for_outcomes(live.place, {"last"})


def test_dead_urls_delay_no_picture(private_stack: Stack, tmp_path: Path) -> None:
    """While requests wait for servers that never answer, a picture is in the catalog as quickly as before."""
    with _hanging() as port:
        more = {
            "TWINLENS_REQUESTS__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
            "TWINLENS_REQUESTS__FETCH_PORTS": f"[{port}]",
            "TWINLENS_REQUESTS__FETCH_TIMEOUT_S": "2",
        }
        with installed(private_stack, tmp_path, WITHOUT_RECONCILE | more) as live:
            live.start("ingest", "requests")
            before = [_seconds_until_known(live, number) for number in range(PICTURES)]
            dead = {f"dead-{number}": _dead_url(number, port) for number in range(DEAD_URLS)}
            send(live.place, list(dead.values()))
            until(lambda: len(outcomes(live.place)) > 0, "the first is answered")
            meanwhile: list[float] = []
            while outcomes(live.place).keys() != dead.keys():
                meanwhile.append(_seconds_until_known(live, PICTURES + len(meanwhile)))
            assert len(meanwhile) >= PICTURES, "dead URLs were waited for all the time"
            assert median(meanwhile) < median(before) + 1, (before, meanwhile)
            reasons = [json.loads(min(messages))["reason"] for messages in outcomes(live.place).values()]
            assert all("longer than 2 seconds" in reason or "is not asked again" in reason for reason in reasons)


def test_what_is_denied_delays_no_other_request(private_stack: Stack, tmp_path: Path) -> None:
    """It is refused with the reason: a forbidden key at once, a denied bucket after a while, and then at once."""
    with installed(private_stack, tmp_path, WITHOUT_RECONCILE) as owner:
        denied = f"{owner.bucket}-denied"
        buckets = {"TWINLENS_OBJECTS__BUCKETS": json.dumps([owner.bucket, denied])}
        owner.with_environment(buckets).application.setup()
        live = owner.with_environment(buckets | Reader(owner).environment)
        # Without all of its buckets it works, and is not ready.
        live.application.processes["requests"].launch()
        send(live.place, [put("denied", "a.png", picture(1), bucket=denied)])
        wait_for_outcomes(live.place, {"denied"})
        began = time.monotonic()
        refused = [put(f"denied-{number}", f"{number}.png", picture(1), bucket=denied) for number in range(30)]
        refused += [put(f"forbidden-{number}", f"forbidden/{number}.png", picture(1)) for number in range(30)]
        send(live.place, [*refused, put("here", "here.png", picture(1))])
        wait_for_outcomes(live.place, {"here", *_ids(refused)})
        assert time.monotonic() - began < 2 * BUCKET_WAITED_FOR.total_seconds()
        found = {request_id: json.loads(min(messages)) for request_id, messages in outcomes(live.place).items()}
        assert found["here"]["outcome"] == "stored"
        assert {found[request_id]["outcome"] for request_id in _ids(refused)} == {"refused"}
        assert denied in found["denied"]["reason"]
        assert "AccessDenied" in found["forbidden-0"]["reason"]


def _ids(requests: Sequence[Request]) -> set[str]:
    return {json.loads(request.value)["request_id"] for request in requests}


def test_an_outcome_that_is_too_large_for_its_topic_is_put_aside_alone(private_stack: Stack, tmp_path: Path) -> None:
    """It becomes a dead letter; the requests around it, and those that come after, are answered."""
    with installed(private_stack, tmp_path, WITHOUT_RECONCILE) as live:
        asyncio.run(_narrowed(live, "request-outcomes", 700))
        live.start("requests")
        long = "/".join(["k" * 250] * 3)
        send(live.place, [put("r-1", "a.png", picture(1)), put("r-long", long, picture(2)), look("r-2", "b.png")])
        wait_for_outcomes(live.place, {"r-1", "r-2"})
        until(lambda: committed(live, "requests") == 3, "all three are acknowledged")
        letters = asyncio.run(read_topic(live.place, "dead-letters"))
        assert [(key, json.loads(value or b"")["outcome"]) for key, value in letters] == [(b"r-long", "stored")]
        assert live.metrics("requests")['twinlens_dead_letters_total{stage="outcomes"}'] == 1
        send(live.place, [look("r-3", "c.png")])
        wait_for_outcomes(live.place, {"r-3"})
        assert "r-long" not in outcomes(live.place)


async def _narrowed(live: Live, topic: str, max_bytes: int) -> None:
    """Let a topic take no larger messages."""
    client = AIOKafkaAdminClient(bootstrap_servers=live.place.kafka)
    await client.start()
    try:
        narrow = {"max.message.bytes": str(max_bytes)}
        name = f"{live.place.topic_prefix}{topic}"
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=narrow)])
    finally:
        await client.close()


def _seconds_until_known(live: Live, number: int) -> float:
    key, began = f"{number}.png", time.monotonic()
    live.put(key, picture(number))
    until(lambda: key in live.catalog_keys(), f"{key} is in the catalog")
    return time.monotonic() - began


def _dead_url(number: int, port: int) -> Request:
    url = f"http://127.0.1.{number % HOSTS}:{port}/{number}.png"
    fields = {"request_id": f"dead-{number}", "key": f"dead/{number}.png", "url": url}
    return Request(json.dumps(fields).encode(), b"%d" % number)


@contextmanager
def _hanging() -> Iterator[int]:
    """A server on every loopback address that takes connections and says nothing; its port."""
    with socket.create_server(("", 0), backlog=1024) as server:
        yield server.getsockname()[1]
