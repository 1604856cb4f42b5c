"""One chaos run, from empty servers to the last comparison."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minio.notificationconfig import NotificationConfig

from tests.chaos.comparison import Differences
from tests.chaos.live import QUICK, Live, until
from tests.chaos.operations import BROKEN_EVERY, Operation, Plan
from tests.e2e.producers import answered, outcomes, raw
from tests.stack.cleanup import in_own_loop, run_sql
from tests.stack.settings import twinlens_environment
from tests.stack.stack import DatabaseName, ServerName, Stack
from tests.stack.supervisor import Supervisor
from tests.unit.pictures import picture

BUCKET = "chaos"
THREADS = 4
REQUESTED_EVERY = 10
"""One put in so many is asked for over Kafka, and goes on when it is answered."""
BROKEN = b"these bytes are no picture"
QUIET_SECONDS = 240.0
Say = Callable[[str], None]


def content(number: int) -> bytes:
    """The bytes that a picture's number stands for."""
    return BROKEN if number % BROKEN_EVERY == 0 else picture(number)


@dataclass(slots=True)
class Outcome:
    """What a run did and what it found."""

    plan: Plan
    done: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    """Processes that the supervisor started again, those that ended by themselves included."""
    after_quiet: Differences = field(default_factory=Differences)
    quiet_seconds: float = 0.0
    after_lost: Differences = field(default_factory=Differences)
    after_reconcile: Differences = field(default_factory=Differences)
    reconcile: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def differences(self) -> int:
        """All that must not be."""
        return self.after_quiet.total + self.after_reconcile.total

    def as_json(self) -> dict[str, Any]:
        """All of it, as one JSON object."""
        return {
            "seed": self.plan.seed,
            "operations": self.done.total(),
            "operations_by_kind": dict(self.done),
            "keys": len({operation.key for operation in self.plan.operations}),
            "kills": self.kills.total(),
            "kills_by_component": dict(self.kills),
            "restarts": dict(self.restarts),
            "differences": self.differences,
            "after_quiet": self.after_quiet.as_json(),
            "quiet_seconds": round(self.quiet_seconds, 1),
            "unannounced_operations": len(self.plan.unannounced),
            "differences_while_unannounced": self.after_lost.total,
            "reconcile": self.reconcile,
            "after_reconcile": self.after_reconcile.as_json(),
            "seconds": round(self.seconds, 1),
        }


class ChaosRun:
    """Runs a plan on a stack of its own in a folder."""

    def __init__(self, plan: Plan, folder: Path, say: Say, *, database: DatabaseName) -> None:
        self._plan = plan
        self._say = say
        self._stack = Stack(folder / "servers", folder / "logs", database=database)
        self._servers: dict[str, ServerName] = {
            "database" if name == database else name: name for name in self._stack.names
        }
        self._logs = folder / "logs"
        self._begun = 0
        self._turn = threading.Condition()
        self._kills_begun = 0
        self.outcome = Outcome(plan)

    def run(self) -> Outcome:
        """All of it; the servers and processes are ended in any case."""
        began = time.monotonic()
        try:
            self._stack.start()
            live = self._installed()
            try:
                live.application.start()
                self._say("everything runs")
                self._disturb(live)
                self._compare_after_quiet(live)
                self._lose_notifications(live)
            finally:
                live.application.stop()
        finally:
            self._stack.stop()
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def _installed(self) -> Live:
        addresses = self._stack.addresses
        in_own_loop(run_sql(addresses.database, f"CREATE DATABASE {BUCKET} CHARACTER SET utf8mb4"))
        url = addresses.database_url(BUCKET)
        environment = twinlens_environment(addresses, bucket=BUCKET, database_url=url, more=QUICK)
        return Live(addresses, environment, self._logs, index_workers=2)

    def _disturb(self, live: Live) -> None:
        """The operations and the kills side by side, under a supervisor that starts again what ends."""
        ended = threading.Event()
        supervisor = Supervisor(live.application.processes, self._note_restart)
        watching = threading.Thread(target=self._supervise, args=(supervisor, ended))
        killing = threading.Thread(target=self._kill_all, args=(live,))
        watching.start()
        killing.start()
        try:
            self._operate(live, self._plan.operations, gated=True)
            killing.join()
            for process in live.application.processes.values():
                process.wait_ready()
        finally:
            killing.join()
            ended.set()
            watching.join()

    def _supervise(self, supervisor: Supervisor, ended: threading.Event) -> None:
        while not ended.wait(0.2):
            supervisor.look()

    def _note_restart(self, text: str) -> None:
        self.outcome.restarts[text.partition(" ")[0]] += 1
        self._say(text)

    def _operate(self, live: Live, operations: Sequence[Operation], *, gated: bool = False) -> None:
        """All operations, those on one key in order, and each tried again until it is acknowledged."""
        lanes: list[list[tuple[int, Operation]]] = [[] for _ in range(THREADS)]
        for number, operation in enumerate(operations):
            lanes[sum(operation.key.encode()) % THREADS].append((number, operation))
        with ThreadPoolExecutor(THREADS) as pool:
            for done in [pool.submit(self._operate_lane, live, lane, gated) for lane in lanes]:
                done.result()

    def _operate_lane(self, live: Live, lane: Sequence[tuple[int, Operation]], gated: bool) -> None:
        for number, operation in lane:
            if gated:
                self._wait_for_turn(number)
            if operation.picture is None:
                live.delete(operation.key)
            elif gated and number % REQUESTED_EVERY == 0:
                request = raw(f"chaos-{number}", operation.key, content(operation.picture))
                until(lambda request=request: answered(live.place, request), f"request {number}")  # type: ignore[misc]
            else:
                live.put(operation.key, content(operation.picture))
            with self._turn:
                self.outcome.done[operation.kind] += 1

    def _wait_for_turn(self, number: int) -> None:
        """Operations don't run ahead of the kills that the plan has among them."""
        with self._turn:
            self._begun = max(self._begun, number + 1)
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._kills_begun == len(self._plan.kills) or number <= self._next_kill() + 20)

    def _next_kill(self) -> int:
        return self._plan.kills[self._kills_begun].after

    def _kill_all(self, live: Live) -> None:
        for number, kill in enumerate(self._plan.kills):
            with self._turn:
                self._turn.wait_for(lambda kill=kill: self._begun > kill.after)  # type: ignore[misc]
            for component in kill.components:
                self._kill(live, component)
                self.outcome.kills[component] += 1
            together = " and ".join(kill.components)
            self._say(f"kill {number + 1} of {len(self._plan.kills)}: {together}, away for {kill.seconds} s")
            with self._turn:
                self._kills_begun += 1
                self._turn.notify_all()
            time.sleep(kill.seconds)
            for component in kill.components:
                if component in self._servers:
                    self._stack.start(self._servers[component])

    def _kill(self, live: Live, component: str) -> None:
        """`kill -9`; the supervisor brings our own processes back by itself."""
        if component in self._servers:
            self._stack.kill(self._servers[component])
        else:
            live.application.processes[component].kill()

    def _compare_after_quiet(self, live: Live) -> None:
        """Wait until everything agrees, without any command."""
        self._say("all operations are acknowledged; quiet")
        began = time.monotonic()
        gone = {content(operation.picture) for operation in self._plan.operations if operation.picture is not None}
        self.outcome.after_quiet = live.settles(QUIET_SECONDS, gone=sorted(gone)[:200], broken=[BROKEN], search=True)
        self._check_bucket(live, self._plan.last, self.outcome.after_quiet)
        several = [request_id for request_id, messages in outcomes(live.place).items() if len(messages) > 1]
        self.outcome.after_quiet.note("requests with several outcomes", several)
        self.outcome.quiet_seconds = time.monotonic() - began
        self._say(f"{self.outcome.after_quiet.total} differences after {self.outcome.quiet_seconds:.0f} s of quiet")

    def _check_bucket(self, live: Live, expected: dict[str, int], found: Differences) -> None:
        """The bucket itself must hold what was acknowledged, or the comparison proves nothing."""
        present = {listed.object_name for listed in live.s3.list_objects(BUCKET, recursive=True)}
        found.note("acknowledged changes that the bucket lost", present ^ expected.keys())

    def _lose_notifications(self, live: Live) -> None:
        """Changes that nobody is told of, then one reconcile."""
        rule = live.s3.get_bucket_notification(BUCKET)
        live.s3.set_bucket_notification(BUCKET, NotificationConfig())
        self._operate(live, self._plan.unannounced)
        live.s3.set_bucket_notification(BUCKET, rule)
        self.outcome.after_lost = live.differences(broken=[BROKEN])
        changes = len(self._plan.unannounced)
        self._say(f"{self.outcome.after_lost.total} differences after {changes} unannounced changes")
        self.outcome.reconcile = _reconcile(live)
        self.outcome.after_reconcile = live.settles(QUIET_SECONDS, broken=[BROKEN], search=True)
        self._say(f"{self.outcome.after_reconcile.total} differences after one reconcile")


def _reconcile(live: Live) -> dict[str, Any]:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("twinlens")), "reconcile", "--json"],
        env={**os.environ, **live.environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"twinlens reconcile ended with {done.returncode}\n{done.stdout}{done.stderr}")
    [report] = json.loads(done.stdout)
    return {name: report[name] for name in ("differences", "drift", "hints", "vectors_deleted", "refused")}
