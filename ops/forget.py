"""`twinlens forget-bucket`: remove what is known of a bucket that is not indexed any more."""

from __future__ import annotations

import structlog

from schemas.errors import RequestRefused
from schemas.settings import Settings
from streams.assembly import for_forget
from streams.process.composition import served_parts
from streams.repair.forget import Forgotten, count_what_is_known, forget

SAID_EVERY = 10_000
"""Images or contents between two lines of the log."""

log = structlog.get_logger(__name__)


async def run_forget(settings: Settings, bucket: str, *, dry_run: bool) -> Forgotten:
    """Forget it, or only count. Raises RequestRefused for a configured bucket, Outage, ConfigurationError."""
    if bucket in settings.objects.buckets:
        raise RequestRefused(
            f"{bucket} is among objects.buckets: take it out and restart workers and query service first"
        )
    async with served_parts(settings) as parts:
        if dry_run:
            return await parts.retry.run(lambda: count_what_is_known(bucket, parts.ports.catalog, parts.ports.vectors))
        said = 0
        async for done in forget(bucket, for_forget(parts.ports), parts.retry):
            if done.images + done.contents - said >= SAID_EVERY:
                said = done.images + done.contents
                log.info("forgetting", bucket=bucket, images=done.images, contents=done.contents)
        return done
