"""Hints for the workers: about what differs at the start, and about each change of a folder store."""

from __future__ import annotations

import asyncio

from schemas.messages import bucket_event, encode_key
from stores.broker.ports import OutgoingMessage
from stores.objects.watcher import FolderWatcher
from streams.composition import WorkerParts
from streams.reconcile.run import Reconciliation, Scope


async def announce_what_changed_meanwhile(parts: WorkerParts) -> None:
    """Compare everything and send hints about what differs: while nothing ran, files came and went unannounced.

    Removals are never refused here: who empties a folder of the embedded stack means it. Raises Outage.
    """
    for bucket in parts.settings.objects.buckets:
        run = Reconciliation(parts.ports, parts.patience, parts.settings.reconcile)
        async for _ in run.run(Scope(bucket, force=True)):
            pass


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
            await parts.patience.run(lambda messages=messages: ports.outbox.send(messages))  # type: ignore[misc]
