"""One random run of requests: workers, zombies, crashes, replays, lost answers, and other writers in between."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from types import ModuleType
from typing import Any

import streams.requests.carry_out
from schemas.errors import CatalogOutage, ObjectStoreOutage, Outage, RequestRefused
from schemas.image_requests import InvalidImageRequest, parse_image_request
from schemas.messages import RequestOutcome
from schemas.records import REQUEST_ID, ObjectRef, ObjectState, RequestRecord, RequestResult
from schemas.settings import SweepSettings
from schemas.topics import Topics
from stores.broker.ports import OutgoingMessage
from stores.catalog.requests import MemoryRequestLedger
from stores.objects.memory import MemoryObjects
from streams.assembly import dead_letters, for_requests
from streams.requests.outcomes import send_outcomes
from tests.harness.installation import BEGINNING, BUCKET, ports_in_memory
from tests.simulation.chaos import Broker, Chaos, ChaoticObjects, _in_seconds
from tests.simulation.loop import SimulatedLoop

TOPICS = Topics()
MOVES = 400


def planted(old: str, new: str) -> ModuleType:
    """A copy of the handler's module with one text in the place of another. ValueError unless that is there once."""
    source = inspect.getsource(streams.requests.carry_out)
    if source.count(old) != 1:
        raise ValueError(f"the handler has this text {source.count(old)} times instead of once:\n{old}")
    module = ModuleType(f"tests.simulation.planted_{abs(hash(old))}")
    sys.modules[module.__name__] = module
    code = compile(source.replace(old, new), f"<planted {old[:30]}>", "exec")
    exec(code, module.__dict__)  # noqa: S102 - our own source
    return module


class ChaoticWriter(ChaoticObjects):
    """The object store with PUTs, which may come long after their sender was told that they had not."""

    async def put(self, ref: ObjectRef, data: bytes, **conditions: Any) -> str:
        """See ObjectWriter."""
        return await self._chaos.call(lambda: self._inner.put(ref, data, **conditions), ObjectStoreOutage, late=True)


class ChaoticLedger(MemoryRequestLedger):
    """The ledger; each call may fail before or after its effect."""

    def __init__(self, chaos: Chaos) -> None:
        super().__init__()
        self._chaos = chaos

    async def _call[T](self, action: Callable[[], Coroutine[Any, Any, T]]) -> T:
        await asyncio.sleep(0)
        result = await self._chaos.call(action, CatalogOutage)
        await asyncio.sleep(0)
        return result

    async def take_up(self, request: RequestRecord) -> RequestRecord:
        known = super().take_up
        return await self._call(lambda: known(request))

    async def conclude(self, request: RequestRecord) -> RequestRecord:
        known = super().conclude
        return await self._call(lambda: known(request))

    async def published(self, request_ids: Collection[str]) -> None:
        known = super().published
        await self._call(lambda: known(request_ids))


@dataclass(slots=True)
class Run:
    """The state of one run. ``deletes``: other clients delete objects too."""

    random: Random
    handler: ModuleType
    deletes: bool
    loop: SimulatedLoop
    chaos: Chaos
    objects: MemoryObjects
    ledger: ChaoticLedger
    ports: Any = None
    messages: list[bytes] = field(default_factory=list)
    waiting: list[bytes] = field(default_factory=list)
    outcomes: dict[str, list[bytes]] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    before: dict[str, ObjectState | None] = field(default_factory=dict)
    landed: set[str] = field(default_factory=set)
    foreign_writes: int = 0
    dead_letters: int = 0
    faults: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        """The run's clock."""
        return BEGINNING + timedelta(seconds=self.loop.time())

    def accept(self, message: OutgoingMessage) -> None:
        """What Kafka keeps."""
        if message.topic == TOPICS.request_outcomes and message.key and message.value:
            self.outcomes.setdefault(message.key.decode(), []).append(message.value)

    def changed(self, ref: ObjectRef, _event: str) -> None:
        """Judge a request's PUT by what it covers: what its row remembers, or its own picture, but nothing else."""
        version = self.objects._buckets[BUCKET].get(ref.key)
        state, covered = version.state if version else None, self.before.get(ref.key)
        self.before[ref.key] = state
        request_id = state.metadata.get(REQUEST_ID) if state else None
        if request_id is None:
            return
        self.landed.add(request_id)
        own = covered is not None and covered.metadata.get(REQUEST_ID) == request_id
        remembered = self.handler._remembered(_in_seconds(covered))
        if not own and remembered != self.ledger.rows[request_id].expected:
            self.faults.append(f"{request_id} covered {covered}, which came after it")

    async def fetch(self, url: str, _max_bytes: int) -> tuple[bytes, str]:
        """A server that takes its time."""
        await asyncio.sleep(self.random.random())
        return url.encode(), "image/png"


def simulate(seed: int, handler: ModuleType = streams.requests.carry_out) -> str | None:
    """Run one seed; what was wrong, or None."""
    random = Random(seed)
    tick, greed = random.choice((1e-5, 1e-3, 3e-2)), random.choice((0.0, 0.5, 0.9))
    loop = SimulatedLoop(random, tick=tick, greed=greed)  # type: ignore[abstract]  # only what handlers use
    chaos = Chaos(random, rate=random.choice((0.0, 0.03, 0.1)), faults=random.choice((0, 2, 6)))
    run = Run(
        random,
        handler,
        deletes=random.random() < 0.3,
        loop=loop,
        chaos=chaos,
        objects=MemoryObjects([BUCKET], clock=lambda: run.now()),  # noqa: PLW0108 - it is being made
        ledger=ChaoticLedger(chaos),
    )
    run.objects.on_change.append(run.changed)
    common = ports_in_memory(
        objects=run.objects,
        outbox=Broker(run.accept, chaos),
        topics=TOPICS,
        sweep=SweepSettings(first_wait_s=1),
        clock=run,
    )
    retry: Any = None  # The broker of a run refuses nothing.
    aside = dead_letters(common, retry, "outcomes", 1_000_000)
    writer: Any = ChaoticWriter(run.objects, chaos)
    run.ports = for_requests(common, writer, run.ledger, run.fetch, (BUCKET,), aside)
    run.messages = _messages(random)
    run.waiting = [*run.messages]
    loop.run(_course(run))
    return next(iter(run.faults), None) or _verdict(run)


def _messages(random: Random) -> list[bytes]:
    """A few requests for a key or two. Some ids come twice, once in a while with something else in the message."""
    made = []
    for number in range(random.randint(1, 4)):
        key = f"{random.randrange(2)}.png"
        content = {"content_base64": b64encode(b"%d" % number).decode()}
        source = random.choice((content, content, {"url": f"http://x/{number}"}))
        made.append({"request_id": f"r-{number}", "key": key, **source})
    for message in random.sample(made, random.randint(0, len(made))):
        other = {"key": "1.png" if message["key"] == "0.png" else "0.png"}
        change: dict[str, Any] = random.choice(({}, {}, other, other, {"schema": 2}, {"bucket": "elsewhere"}))
        made.append({**message, **change})
    return [json.dumps(message).encode() for message in made]


async def _course(run: Run) -> None:
    for _ in range(MOVES):
        _move(run)
        await asyncio.sleep(0)
        if not run.waiting and not run.tasks:
            break
    run.chaos.calm()
    await _finish(run)
    await asyncio.gather(*run.chaos.late, return_exceptions=True)
    settled = {key: version.state for key, version in run.objects._buckets[BUCKET].items()}
    run.waiting = run.random.sample(run.messages, len(run.messages))
    await _finish(run)
    if settled != {key: version.state for key, version in run.objects._buckets[BUCKET].items()}:
        run.faults.append("a replay of what was done changed the bucket")
    run.loop.skip(60)
    due = await run.ledger.due(run.now(), limit=100)
    await _patiently(run, lambda: send_outcomes(due, run.ports))


async def _finish(run: Run) -> None:
    while run.waiting or run.tasks:
        if run.waiting:
            _work(run)
        await asyncio.sleep(0)


def _move(run: Run) -> None:
    chance = run.random.random()
    if chance < 0.2 and (run.waiting or (run.tasks and run.random.random() < 0.3)):
        _work(run)
    elif chance < 0.22 and run.tasks:
        run.random.choice(sorted(run.tasks, key=asyncio.Task.get_name)).cancel()
    elif chance < 0.24:
        _meddle(run)


def _meddle(run: Run) -> None:
    """Another client puts a picture of its own, or deletes one."""
    ref = ObjectRef(BUCKET, f"{run.random.randrange(2)}.png")
    run.foreign_writes += 1
    if run.deletes and run.random.random() < 0.5:
        run.objects.delete_now(ref)
    else:
        run.objects.put_now(ref, b"theirs %d" % run.foreign_writes)


def _work(run: Run) -> None:
    """A worker takes a message, one that waits or, as a zombie, one that another worker has had or has."""
    waiting = run.waiting
    message = waiting.pop(run.random.randrange(len(waiting))) if waiting else run.random.choice(run.messages)
    task = run.loop.create_task(_handle(run, message), name=f"{run.random.getrandbits(40):013}")
    run.tasks.add(task)
    task.add_done_callback(lambda done: _ended(run, done, message))


def _ended(run: Run, task: asyncio.Task[None], message: bytes) -> None:
    run.tasks.discard(task)
    if task.cancelled():
        run.waiting.append(message)
    elif (error := task.exception()) is not None:
        run.faults.append(f"bug: {error!r}")


async def _handle(run: Run, message: bytes) -> None:
    try:
        request = parse_image_request(message, {})
    except InvalidImageRequest as error:
        invalid = error
        await _answered(run, lambda: run.handler.refuse(invalid, run.ports))
    else:
        await _answered(run, lambda: run.handler.carry_out(request, run.ports))


async def _answered(run: Run, step: Callable[[], Awaitable[RequestRecord]]) -> None:
    try:
        row = await _patiently(run, step)
    except RequestRefused:
        run.dead_letters += 1
    else:
        await _patiently(run, lambda: run.ledger.published([row.request_id]))


async def _patiently[T](run: Run, step: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await step()
        except Outage:
            await asyncio.sleep(run.random.random())


def _verdict(run: Run) -> str | None:
    """What does not hold at the end: one outcome for each id, and a true one."""
    wanted = {json.loads(message)["request_id"] for message in run.messages}
    if set(run.outcomes) != wanted:
        return f"outcomes for {sorted(run.outcomes)} instead of {sorted(wanted)}"
    present = {state.metadata.get(REQUEST_ID) for state in run.before.values() if state}
    for request_id, sent in run.outcomes.items():
        if len(set(sent)) != 1:
            return f"{request_id} has several outcomes"
        outcome = RequestOutcome.decode(sent[0]).outcome
        if outcome is RequestResult.STORED and request_id not in run.landed:
            return f"{request_id} is said to be stored, and never was"
        if outcome is RequestResult.REFUSED and request_id in run.landed:
            return f"{request_id} is said to be refused, and was stored"
        if outcome is RequestResult.SUPERSEDED and request_id in present and not run.deletes:
            return f"{request_id} is said to be superseded, and nothing took its place"
    return f"errors that nobody saw: {run.loop.errors[0]}" if run.loop.errors else None
