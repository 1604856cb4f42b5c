"""Hints for the workers: about what differs at the start, and about each change of a folder store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from schemas.messages import bucket_event, encode_key
from schemas.settings import Settings
from stores.broker.ports import OutgoingMessage
from stores.objects.watcher import FolderWatcher
from streams.common.backoff import OutageRetry
from streams.process.composition import WorkerParts
from streams.repair.reconcile import ReconcilePorts, Reconciliation, Scope


async def announce_what_changed_meanwhile(
    settings: Settings, ports: ReconcilePorts, retry: OutageRetry, refused: Callable[[str], object]
) -> None:
    """Compare everything and send hints about what differs: while nothing ran, files came and went unannounced.

    A removal of more than ``reconcile.max_removed_share`` is refused, as everywhere, and ``refused`` is told why: a
    folder that isn't mounted, or another store, must not empty the catalog. Raises Outage.
    """
    for bucket in settings.objects.buckets:
        run = Reconciliation(ports, retry, settings.reconcile)
        passed_on = 0
        async for report in run.run(Scope(bucket)):
            for refusal in report.refused[passed_on:]:
                refused(refusal)
            passed_on = len(report.refused)


async def announce_folder_changes(parts: WorkerParts, watching: asyncio.Event) -> None:
    """Announce what happens to the files of the folder store, for ever, as MinIO would. Raises Outage.

    Sets ``watching`` as soon as no change is missed any more.
    """
    settings, ports = parts.settings, parts.ports
    watcher = FolderWatcher(settings.objects.folder, settings.objects.buckets)
    topic = settings.kafka.topics.bucket_events
    async for changes in watcher.watch():
        watching.set()
        messages = [
            OutgoingMessage(
                topic,
                encode_key(change.ref),
                bucket_event(change.ref, event_name=change.event_name, event_time=ports.clock.now()),
            )
            for change in changes
        ]
        if messages:
            await parts.retry.run(lambda messages=messages: ports.outbox.send(messages))  # type: ignore[misc]
