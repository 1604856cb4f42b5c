"""Servers that go away, workers that are killed, and what must come of it, on the real servers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from streams.common.checkpoints import Step
from tests.harness.live import PATIENCE_SECONDS, WITHOUT_RECONCILE, Live, until
from tests.harness.pictures import picture
from tests.harness.stack.stack import ServerName, Stack
from tests.integration.faults import (
    REQUEST_STEPS,
    Streaming,
    as_text,
    broken,
    change_a_little,
    committed,
    crashing,
    downs,
    expel_dead,
    hint,
    installed,
    sent,
    wait_for,
)
from tests.integration.planted_worker import ACKNOWLEDGED_FIRST, AGENT_BUGS, DEAD_SWEEP, with_planted

pytestmark = pytest.mark.timeout(900)

OUTAGE_SECONDS = float(os.environ.get("TWINLENS_TEST_OUTAGE_SECONDS", "8"))
"""How long each server is away while objects stream in."""
HANGS = os.environ.get("TWINLENS_TEST_OUTAGE") == "hang"
"""Whether it hangs (SIGSTOP) instead of being killed."""
INGEST_STEPS = (
    Step.OBJECT_READ, Step.IMAGE_LOCKED, Step.CONTENT_LOCKED, Step.OBJECT_COMMITTED, Step.CONTENT_SENT,
    Step.IMAGE_SENT, Step.IMAGE_PUBLISHED, Step.OBJECT_SEEN, Step.BATCH_HANDLED, Step.BATCH_ACKED,
)  # fmt: skip
INDEX_STEPS = (
    Step.CONTENT_LOCKED, Step.DELETING_COMMITTED, Step.VECTOR_DELETED, Step.CONTENT_DELETED, Step.ATTEMPT_COMMITTED,
    Step.CONTENT_FETCHED, Step.CONTENT_DECODED, Step.CONTENT_EMBEDDED, Step.VECTOR_STORED, Step.INDEXED_COMMITTED,
    Step.REJECTED_COMMITTED, Step.CONTENT_CLEARED, Step.IMAGE_SENT, Step.IMAGE_PUBLISHED, Step.BATCH_HANDLED,
    Step.BATCH_ACKED,
)  # fmt: skip


OF_KNOWN_OBJECTS = (Step.OBJECT_SEEN, Step.IMAGE_SENT, Step.IMAGE_PUBLISHED)
"""Steps of the ingest worker that only changes of objects lead to which the catalog knows."""


@pytest.fixture
def calm(private_stack: Stack, tmp_path: Path) -> Iterator[Live]:
    """An installation that is told once and never compared: only the handlers and the sweep can put things right."""
    more = WITHOUT_RECONCILE | {"TWINLENS_INDEX__MAX_ATTEMPTS": "50"}
    with installed(private_stack, tmp_path, more, announced_once=True) as live:
        yield live


@pytest.mark.parametrize(("role", "steps"), [("ingest", INGEST_STEPS), ("index", INDEX_STEPS)])
def test_a_worker_killed_at_any_step_loses_and_doubles_nothing(calm: Live, role: str, steps: tuple[Step, ...]) -> None:
    """What a worker killed at any step between fetching and acknowledging leaves undone, its successor does."""
    other = "index" if role == "ingest" else "ingest"
    calm.start(other)
    for number, step in enumerate(steps):
        if role == "ingest" and step in OF_KNOWN_OBJECTS:
            calm.start(role)
            assert calm.settles(broken=[broken(earlier) for earlier in range(number)]).total == 0
            calm.application.processes[role].stop()
        doomed = crashing(calm, step).application.processes[role]
        doomed.launch()
        change_a_little(calm, number)
        until(lambda doomed=doomed: doomed.exit_code is not None, f"{role} reaches {step}")  # type: ignore[misc]
        assert doomed.exit_code == -signal.SIGKILL, f"{step}: {doomed.log_end()}"
        expel_dead(calm, role)
    calm.start(role)
    settled = calm.settles(broken=[broken(number) for number in range(len(steps))])
    assert settled.total == 0, as_text(settled.as_json())


def test_every_step_is_covered() -> None:
    """No step between fetching and acknowledging is left out of the test above, and of that of requests."""
    assert {*INGEST_STEPS, *INDEX_STEPS, *REQUEST_STEPS} == set(Step)


DEPENDENCIES: dict[ServerName, tuple[str, str]] = {
    "kafka": ("ingest", "broker"),
    "minio": ("ingest", "objects"),
    "mariadb": ("ingest", "catalog"),
    "milvus": ("index", "vectors"),
}


@pytest.mark.parametrize("server", list(DEPENDENCIES))
def test_an_outage_is_waited_out(private_stack: Stack, tmp_path: Path, server: ServerName) -> None:
    """A server that goes away costs nothing but time: readiness names it, and so does the log, not at each attempt.

    Only what MinIO did not announce in the first moment after its return takes a comparison.
    """
    role, dependency = DEPENDENCIES[server]
    more = {} if server == "minio" else WITHOUT_RECONCILE
    with installed(private_stack, tmp_path, more, announced_once=True) as live:
        live.start("ingest", "index")
        pids = {name: live.application.processes[name].pid for name in ("ingest", "index")}
        with Streaming(live):
            wait_for(2)
            if HANGS:
                private_stack.process(server).hang()
            else:
                private_stack.kill(server)
            until(lambda: live.readiness(role)[1].get(dependency, "ok") != "ok", f"/readyz names {dependency}")
            assert live.readiness(role)[0] == 503
            wait_for(OUTAGE_SECONDS)
            private_stack.process(server).go_on()
            private_stack.start(server)
            wait_for(2)
        settled = live.settles()
        assert settled.total == 0, as_text(settled.as_json())
        until(lambda: live.readiness(role)[0] == 200, "ready again")
        assert pids == {name: live.application.processes[name].pid for name in ("ingest", "index")}
        assert downs(live, role).count(dependency) == 1


def test_workers_that_come_and_go_lose_nothing(private_stack: Stack, tmp_path: Path) -> None:
    """One, two and four workers of each kind, of which one is killed and one stopped: partitions move under load.

    Nobody compares, and each event is sent once, so that what a rebalance loses would stay lost.
    """
    more = WITHOUT_RECONCILE | {"TWINLENS_KAFKA__PARTITIONS": "4"}
    with installed(private_stack, tmp_path, more, announced_once=True) as live:
        teams = [live, *(live.with_environment({}) for _ in range(3))]
        workers = [[team.application.processes[role] for role in ("ingest", "index")] for team in teams]
        with Streaming(live):
            for joining in (workers[:1], workers[1:2], workers[2:]):
                for worker in chain(*joining):
                    worker.launch()
                # Ready means that it has a partition: of four, one, two or four workers have as many each.
                for worker in chain(*joining):
                    worker.wait_ready()
            for killed, stopped in zip(workers[1], workers[2], strict=True):
                killed.kill()
                stopped.stop()
            wait_for(2)
        settled = live.settles()
        assert settled.total == 0, as_text(settled.as_json())


def test_a_vanished_bucket_never_empties_the_catalog(private_stack: Stack, calm: Live, tmp_path: Path) -> None:
    """While a bucket is gone, as an unmounted volume, events about its objects remove nothing."""
    keys = [f"{number:02}.png" for number in range(12)]
    for number, key in enumerate(keys):
        calm.put(key, picture(number))
    calm.start("ingest", "index")
    assert calm.settles().total == 0
    volume = private_stack._folder / "minio" / "data" / calm.bucket
    away = tmp_path / "unmounted"
    volume.rename(away)
    hint(calm, keys)
    until(lambda: calm.readiness("ingest")[1][f"bucket:{calm.bucket}"] != "ok", "/readyz names the bucket")
    wait_for(3)
    assert calm.catalog_keys() == set(keys)
    if volume.exists():
        volume.rename(tmp_path / "left-behind")
    away.rename(volume)
    settled = calm.settles()
    assert settled.total == 0, as_text(settled.as_json())
    assert settled.compared["objects"] == len(keys)


def test_an_outage_beyond_the_budget_ends_the_worker(private_stack: Stack, tmp_path: Path) -> None:
    """An outage beyond the budget ends the worker with code 75, unacknowledged; started again, it goes on."""
    more = WITHOUT_RECONCILE | {"TWINLENS_RETRY__BUDGET_S": "3"}
    with installed(private_stack, tmp_path, more) as live:
        live.start("ingest", "index")
        for number in range(5):
            live.put(f"before{number}.png", picture(number))
        assert live.settles().total == 0
        private_stack.kill("milvus")
        for number in range(5):
            live.put(f"during{number}.png", picture(100 + number))
        index = live.application.processes["index"]
        until(lambda: index.exit_code is not None, "the index worker gives up")
        assert index.exit_code == 75, index.log_end()
        private_stack.start("milvus")
        live.start("index")
        settled = live.settles()
        assert settled.total == 0, as_text(settled.as_json())


def test_everything_killed_at_once_comes_back(private_stack: Stack, tmp_path: Path) -> None:
    """After a power cut of all servers and workers in the middle of the stream, everything agrees again."""
    with installed(private_stack, tmp_path) as live:
        live.start("ingest", "index")
        with Streaming(live):
            wait_for(3)
            for server in DEPENDENCIES:
                private_stack.kill(server)
            for role in ("ingest", "index"):
                live.application.processes[role].kill()
            private_stack.start()
            live.start("ingest", "index")
            wait_for(2)
        settled = live.settles()
        assert settled.total == 0, as_text(settled.as_json())


NO_BUG = "as it is"
OTHER_NETS_OFF = WITHOUT_RECONCILE | {"TWINLENS_RETRY__BUDGET_S": "8", "TWINLENS_SWEEP__FIRST_WAIT_S": "3600"}
"""Neither a comparison nor the sweep heals what a worker acknowledged too early."""


@pytest.mark.parametrize(
    ("role", "topic", "bug"),
    [
        *(("ingest", "bucket-events", bug) for bug in (NO_BUG, *AGENT_BUGS)),
        *(("index", "contents", bug) for bug in (NO_BUG, ACKNOWLEDGED_FIRST)),
    ],
)
def test_finds_planted_bugs_of_the_agent(private_stack: Stack, tmp_path: Path, role: str, topic: str, bug: str) -> None:
    """An agent that acknowledges too early or swallows errors loses messages in an outage; ours does not."""
    with installed(private_stack, tmp_path, OTHER_NETS_OFF, announced_once=True) as live:
        for number in range(6):
            live.put(f"{number}.png", picture(number))
        if role == "index":
            live.start("ingest")
        until(lambda: len(sent(live, topic)) == 6, f"all that {role} has to do is in Kafka")
        live.application.processes["ingest"].stop()
        private_stack.kill("minio")
        buggy = live.with_environment({}) if bug == NO_BUG else live.with_program(with_planted(bug))
        _run_into_the_outage(buggy, role)
        private_stack.start("minio")
        live.start("ingest", "index")
        settled = live.settles(PATIENCE_SECONDS if bug == NO_BUG else 12)
        assert (settled.total == 0) == (bug == NO_BUG), as_text(settled.as_json())


def _run_into_the_outage(live: Live, role: str) -> None:
    """The worker takes the messages, meets the outage, and ends or acknowledges; then it is killed."""
    worker = live.application.processes[role]
    worker.launch()
    until(lambda: worker.exit_code is not None or committed(live, role) > 0, "the worker ends or acknowledges")
    worker.kill()


def test_finds_a_dead_sweep(calm: Live) -> None:
    """What a worker committed and did not send before it was killed is done by the sweep, and by nothing else."""
    calm.start("index")
    doomed = crashing(calm, Step.OBJECT_COMMITTED).application.processes["ingest"]
    doomed.launch()
    calm.put("k.png", picture(1))
    until(lambda: doomed.exit_code is not None, "the worker is killed behind its commit")
    unswept = calm.with_program(with_planted(DEAD_SWEEP))
    unswept.start("ingest")
    assert calm.settles(12).total > 0
    unswept.application.processes["ingest"].stop()
    calm.start("ingest")
    settled = calm.settles()
    assert settled.total == 0, as_text(settled.as_json())
