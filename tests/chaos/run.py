"""One chaos run, from empty servers to the last comparison."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from minio.notificationconfig import NotificationConfig

from tests.chaos.faults import Injector
from tests.chaos.links import Links
from tests.chaos.operations import BROKEN_EVERY, Fault, Operation, Plan
from tests.chaos.relay import LossyRelay
from tests.harness.command_line import twinlens
from tests.harness.comparison import Differences
from tests.harness.live import QUICK, WITHOUT_RECONCILE, Live, until
from tests.harness.pictures import picture
from tests.harness.producers import answered, outcomes, raw
from tests.harness.stack.cleanup import in_own_loop, run_sql
from tests.harness.stack.minio import MAIN_ROUTE, TEST_ROUTES
from tests.harness.stack.settings import ANNOUNCED_BY_SERVER, twinlens_environment
from tests.harness.stack.stack import DatabaseName, ObjectStoreName, ServerName, Stack
from tests.harness.stack.supervisor import Supervisor

BUCKET = "chaos"
THREADS = 4
REQUESTED_EVERY = 10
"""One put in so many is asked for over Kafka, and goes on when it is answered."""
BROKEN = b"these bytes are no picture"
QUIET_SECONDS = 240.0
Say = Callable[[str], None]
PATROL_ONLY = {
    **WITHOUT_RECONCILE,
    "TWINLENS_PATROL__RATE": "500",
    "TWINLENS_RECONCILE__MAX_REMOVED_SHARE": "1",
}
"""So many objects come and go between two rounds that the guard would take it for the loss of a disk."""


class Events(StrEnum):
    """What Twinlens learns of changes."""

    ALL = "all"
    """Everything, twice, as the stacks have it."""
    ONCE = "once"
    """Everything, once; and no comparison is made, so that each event, message and mark counts."""
    LOSSY = "lossy"
    """By a relay that loses, doubles and delays events; the patrol alone finds what was lost."""
    NONE = "none"
    """Nothing; the patrol alone finds what changed."""


def content(number: int) -> bytes:
    """The bytes that a picture's number stands for."""
    return BROKEN if number % BROKEN_EVERY == 0 else picture(number)


@dataclass(slots=True)
class Outcome:
    """What a run did and what it found."""

    plan: Plan
    done: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    relayed: Counter[str] = field(default_factory=Counter)
    """What the relay did to events, if there was one."""
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
            "faults": self.faults.total(),
            "faults_by_kind": dict(self.faults),
            "relayed": dict(self.relayed),
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

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        say: Say,
        *,
        database: DatabaseName,
        objects: ObjectStoreName = "minio",
        events: Events = Events.ALL,
    ) -> None:
        self._plan = plan
        self._say = say
        self._events = events
        self._has_rules = objects == "minio"
        self._has_patrol = events in (Events.LOSSY, Events.NONE)
        self._logs = folder / "logs"
        self._links = Links(self._logs)
        link = self._links.kafka if plan.has_link_faults else None
        self._stack = Stack(
            folder / "servers", self._logs, database=database, objects=objects, kafka_link=link, short_lived=True
        )
        servers: dict[str, ServerName] = {
            "kafka": "kafka", "milvus": "milvus", "database": database, "objects": objects
        }  # fmt: skip
        self._injector = Injector(self._stack, servers, {harm.kind for harm in plan.harms}, self._links, folder)
        self._begun = 0
        self._turn = threading.Condition()
        self._faults_begun = 0
        self.outcome = Outcome(plan)

    def run(self) -> Outcome:
        """All of it; the servers and processes are ended in any case."""
        began = time.monotonic()
        with ExitStack() as ending:
            ending.callback(self._injector.clean_up)
            self._injector.prepare()
            ending.callback(self._stack.stop)
            self._stack.start()
            ending.callback(self._links.stop)
            live = self._installed()
            ending.callback(live.application.stop)
            live.application.start()
            self._say("everything runs")
            self._disturb_by_events(live)
            self._compare_after_quiet(live)
            if self._has_rules and not self._has_patrol:
                self._lose_notifications(live)
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def _installed(self) -> Live:
        addresses = self._stack.addresses
        in_own_loop(run_sql(addresses.database, f"CREATE DATABASE {BUCKET} CHARACTER SET utf8mb4"))
        reached = self._links.start(addresses) if self._plan.has_link_faults else addresses
        arns = {
            Events.ALL: MAIN_ROUTE.arns,
            Events.ONCE: [MAIN_ROUTE.durable_arn],
            Events.LOSSY: TEST_ROUTES[0].arns,
            Events.NONE: [],
        }
        more = {
            **QUICK,
            **(WITHOUT_RECONCILE if self._events is Events.ONCE else {}),
            **(PATROL_ONLY if self._has_patrol else {}),
            "TWINLENS_OBJECTS__NOTIFICATIONS": "none" if self._events is Events.NONE else "kafka",
            "TWINLENS_OBJECTS__NOTIFICATION_ARNS": json.dumps(arns[self._events]),
            **({} if self._has_rules else ANNOUNCED_BY_SERVER),
        }
        url = reached.database_url(BUCKET)
        environment = twinlens_environment(reached, bucket=BUCKET, database_url=url, more=more)
        return Live(addresses, environment, self._logs, index_workers=2, clocks=self._injector.clocks())

    def _disturb_by_events(self, live: Live) -> None:
        """The disturbance, with events as they are wanted."""
        if self._events is Events.LOSSY:
            source, target = (f"{route.topic_prefix}bucket-events" for route in (TEST_ROUTES[0], MAIN_ROUTE))
            with LossyRelay(self._stack.addresses.kafka, source, target, self._plan.seed) as relay:
                self._disturb(live)
            self.outcome.relayed = relay.counts
        else:
            self._disturb(live)

    def _disturb(self, live: Live) -> None:
        """The operations and the faults side by side, under a supervisor that starts again what ends."""
        ended = threading.Event()
        supervisor = Supervisor(live.application.processes, self._note_restart)
        watching = threading.Thread(target=self._supervise, args=(supervisor, ended))
        harming = threading.Thread(target=self._inject_all, args=(live,))
        watching.start()
        harming.start()
        try:
            self._operate(live, self._plan.operations, gated=True)
            harming.join()
            for process in live.application.processes.values():
                process.wait_ready()
        finally:
            harming.join()
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
        """Operations don't run ahead of the faults that the plan has among them."""
        with self._turn:
            self._begun = max(self._begun, number + 1)
            self._turn.notify_all()
            self._turn.wait_for(lambda: number <= self._next_fault() + 20)

    def _next_fault(self) -> float:
        """How many operations come before it; no number of them is enough where there is none."""
        return self._plan.faults[self._faults_begun].after if self._faults_begun < len(self._plan.faults) else math.inf

    def _inject_all(self, live: Live) -> None:
        for number, fault in enumerate(self._plan.faults):
            with self._turn:
                self._turn.wait_for(lambda fault=fault: self._begun > fault.after)  # type: ignore[misc]
            together = " and ".join(map(str, fault.harms))
            self._say(f"fault {number + 1} of {len(self._plan.faults)}: {together}, for {fault.seconds} s")
            self._inject(live, fault)

    def _inject(self, live: Live, fault: Fault) -> None:
        """Let the fault last, and have all servers run again."""
        processes = live.application.processes
        for harm in fault.harms:
            self._injector.begin(harm, processes)
            self.outcome.faults[str(harm)] += 1
        with self._turn:
            self._faults_begun += 1
            self._turn.notify_all()
        time.sleep(fault.seconds)
        for harm in fault.harms:
            self._injector.end(harm, processes)
        self._stack.start()

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
    done = twinlens("reconcile", "--json", environment=live.environment, seconds=300)
    if done.returncode != 0:
        raise RuntimeError(f"twinlens reconcile ended with {done.returncode}\n{done.stdout}{done.stderr}")
    [report] = json.loads(done.stdout)
    return {name: report[name] for name in ("differences", "drift", "hints", "vectors_deleted", "refused")}
