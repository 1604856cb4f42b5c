"""Puts the handlers together: each is given the ports that it touches, of all that a process has.

No handler is handed all of them, nor could it ask for them: `make check` holds that none imports this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

from schemas.errors import TIMEOUT
from schemas.records import Reason
from schemas.settings import IndexSettings, LimitSettings, PublishSettings, SweepSettings
from schemas.topics import Topics
from stores.broker.ports import Backlog, Outbox
from stores.catalog.ports import Catalog, RequestLedger
from stores.objects.left_out import LeftOut
from stores.objects.ports import ObjectReader, ObjectWriter
from stores.vectors.ports import VectorIndex
from streams.common.backoff import OutageRetry
from streams.common.deliveries import DeadLetters
from streams.common.ports import Checkpoint, Clock, NewId, ServedVectors, SystemClock, new_vector_id, pass_by
from streams.index.batches import IndexPorts
from streams.index.converge_contents import DecisionPorts, FetchPorts, RecordPorts, SettlePorts, StorePorts
from streams.index.nearest import Looking, Nearest
from streams.ingest.converge_objects import ObjectPorts
from streams.ingest.look import LookPorts
from streams.models.switch import SwitchPorts
from streams.publish import PublishPorts
from streams.repair.audit import AuditPorts
from streams.repair.comparing import ComparePorts
from streams.repair.forget import ForgetPorts
from streams.repair.reconcile import ReconcilePorts
from streams.repair.sweep import SweepPorts
from streams.requests.fetching import Fetch
from streams.requests.outcomes import RequestPorts

LATE_RETRY_S = 10.0
"""What gave no answer in time may just have been slow: it is tried again after so long, or sooner."""


@dataclass(frozen=True, slots=True)
class Ports:
    """All that a process reaches the world through. In ``objects`` what is ``left_out`` is not there."""

    objects: ObjectReader
    catalog: Catalog
    vectors: VectorIndex
    outbox: Outbox
    backlog: Backlog
    """Of the contents topic."""
    topics: Topics
    limits: LimitSettings
    sweep: SweepSettings
    copy_threshold: float
    left_out: LeftOut = field(default_factory=LeftOut)
    publish: PublishSettings = field(default_factory=PublishSettings)
    clock: Clock = field(default_factory=SystemClock)
    reached: Checkpoint = pass_by
    vector_id: NewId = new_vector_id
    other_vectors: VectorIndex | None = None
    """See ``ServedVectors``, likewise ``switch_version``."""
    switch_version: int = 0

    @property
    def served(self) -> ServedVectors:
        """The collections of the models that are served."""
        return ServedVectors(self.vectors, self.other_vectors, self.switch_version)

    def on(self, served: ServedVectors) -> Ports:
        """The same on these collections."""
        return replace(self, vectors=served.in_use, other_vectors=served.other, switch_version=served.switch_version)

    def retry_wait(self, reason: Reason | None) -> timedelta:
        """See ``RetryWait``."""
        wait_s = self.sweep.unreadable_first_wait_s
        is_late = reason is not None and reason.detail == TIMEOUT
        return timedelta(seconds=min(wait_s, LATE_RETRY_S) if is_late else wait_s)

    @property
    def wait(self) -> timedelta:
        """After so long the sweep takes up what no message has finished."""
        return timedelta(seconds=self.sweep.first_wait_s)

    @property
    def tombstone_after(self) -> timedelta:
        """So long a removed image stays in the catalog and on the change stream."""
        return timedelta(hours=self.publish.tombstone_after_hours)


def dead_letters(ports: Ports, retry: OutageRetry, stage: str, max_bytes: int) -> DeadLetters:
    """Where a stage puts the messages aside that it can't handle; none is larger than ``max_bytes``."""
    return DeadLetters(ports.outbox, ports.topics.dead_letters, ports.clock, retry, stage, max_bytes)


def for_publishing(ports: Ports) -> PublishPorts:
    """For ``streams.publish``."""
    return PublishPorts(
        catalog=ports.catalog,
        outbox=ports.outbox,
        topics=ports.topics,
        clock=ports.clock,
        reached=ports.reached,
        copy_threshold=ports.copy_threshold,
        wait=ports.wait,
        tombstone_after=ports.tombstone_after,
    )


def for_objects(ports: Ports) -> ObjectPorts:
    """For ``streams.ingest``."""
    return ObjectPorts(
        catalog=ports.catalog,
        looking=LookPorts(ports.objects, ports.reached, ports.limits.max_object_bytes),
        publishing=for_publishing(ports),
        outbox=ports.outbox,
        topics=ports.topics,
        clock=ports.clock,
        reached=ports.reached,
        vector_id=ports.vector_id,
        wait=ports.wait,
        retry_wait=ports.retry_wait,
    )


def for_index(ports: Ports) -> IndexPorts:
    """For ``streams.index``: each group of steps its own."""
    catalog, served, clock, reached = ports.catalog, ports.served, ports.clock, ports.reached
    outbox, topics, limits = ports.outbox, ports.topics, ports.limits.fingerprint
    max_bytes = ports.limits.max_object_bytes
    return IndexPorts(
        deciding=DecisionPorts(catalog, served, clock, reached, ports.vector_id, ports.wait),
        fetching=FetchPorts(ports.objects, catalog, outbox, topics, clock, reached, max_bytes),
        storing=StorePorts(served.in_use, catalog, reached, ports.copy_threshold),
        recording=RecordPorts(catalog, served, clock, reached, limits, ports.retry_wait),
        settling=SettlePorts(catalog, for_publishing(ports), outbox, topics, reached),
        catalog=catalog,
        served=served,
        clock=clock,
        reached=reached,
        limits=limits,
    )


def nearest(ports: Ports, looking: Looking, settings: IndexSettings) -> Nearest:
    """What verifies neighbours for an index worker."""
    return Nearest(
        ports.objects,
        looking,
        settings,
        copy_threshold=ports.copy_threshold,
        max_bytes=ports.limits.max_object_bytes,
    )


def for_requests(
    ports: Ports,
    objects: ObjectWriter,
    ledger: RequestLedger,
    fetch: Fetch,
    buckets: tuple[str, ...],
    aside: DeadLetters,
) -> RequestPorts:
    """For ``streams.requests``, which alone writes objects; ``aside`` is for outcomes that the broker refuses."""
    return RequestPorts(
        objects=objects,
        left_out=ports.left_out,
        ledger=ledger,
        fetch=fetch,
        buckets=buckets,
        dead_letters=aside,
        outbox=ports.outbox,
        topics=ports.topics,
        clock=ports.clock,
        reached=ports.reached,
        wait=ports.wait,
        max_bytes=ports.limits.max_object_bytes,
    )


def for_sweep(ports: Ports) -> SweepPorts:
    """For ``streams.repair.sweep``."""
    return SweepPorts(
        catalog=ports.catalog,
        publishing=for_publishing(ports),
        outbox=ports.outbox,
        backlog=ports.backlog,
        topics=ports.topics,
        clock=ports.clock,
        settings=ports.sweep,
    )


def for_comparing(ports: Ports) -> ComparePorts:
    """For ``streams.repair.comparing``."""
    return ComparePorts(ports.objects, ports.left_out, ports.catalog, ports.vectors, ports.clock, ports.limits)


def for_reconcile(ports: Ports) -> ReconcilePorts:
    """For ``streams.repair.reconcile``, and for the patrol and the schedule, which begin runs of it."""
    return ReconcilePorts(
        comparing=for_comparing(ports),
        catalog=ports.catalog,
        served=ports.served,
        outbox=ports.outbox,
        topics=ports.topics,
        clock=ports.clock,
        pending_too_long=timedelta(seconds=ports.sweep.max_wait_s),
    )


def for_audit(ports: Ports) -> AuditPorts:
    """For ``streams.repair.audit``."""
    return AuditPorts(ports.catalog, ports.vectors, ports.outbox, ports.topics, ports.clock)


def for_forget(ports: Ports) -> ForgetPorts:
    """For ``streams.repair.forget``."""
    return ForgetPorts(ports.catalog, ports.served, ports.outbox, ports.topics, ports.clock, ports.copy_threshold)


def for_switch(ports: Ports) -> SwitchPorts:
    """For ``streams.models.switch``."""
    return SwitchPorts(ports.catalog, ports.vectors, ports.outbox, ports.topics, ports.clock)
