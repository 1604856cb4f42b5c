"""`twinlens add`: files and folders of this machine into the bucket."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ops.pictures import find_sources
from ops.progress import progress_bar
from ops.terminal import shown, stderr
from ops.upload import Uploaded, Uploader
from schemas.errors import ConfigurationError
from schemas.settings import Settings
from stores.objects.opening import open_objects
from streams.patience import Outages, Patience

SHOWN_FAILURES = 20


async def run_add(
    settings: Settings, paths: Sequence[Path], *, bucket: str | None, prefix: str, everything: bool
) -> bool:
    """Add them all and say what became of them; whether all went well.

    Raises PathProblem for a path that is not there, ConfigurationError for a bucket that is not indexed, and Outage.
    """
    bucket = bucket or settings.objects.default_bucket
    if bucket not in settings.objects.buckets:
        raise ConfigurationError(f"{bucket} is not among objects.buckets: it would not be indexed")
    sources = find_sources(paths, prefix=prefix, everything=everything)
    if not sources:
        stderr().print("no pictures were found there; --all takes files of every name")
        return False
    objects = open_objects(settings.objects)
    try:
        with progress_bar() as progress:
            task = progress.add_task(f"adding to {bucket}", total=len(sources))
            uploader = Uploader(objects, Patience(settings.retry, Outages()), settings, bucket)
            result = await uploader.upload(sources, lambda: progress.advance(task))
    finally:
        await objects.close()
    _tell(result)
    return not result.failed


def _tell(result: Uploaded) -> None:
    console = stderr()
    parts = [f"{len(result.added):,} added"]
    if result.unchanged:
        parts.append(f"{len(result.unchanged):,} there already")
    if result.failed:
        parts.append(f"[bold red]{len(result.failed):,} failed[/]")
    console.print(", ".join(parts))
    for source, reason in sorted(result.failed)[:SHOWN_FAILURES]:
        console.print(f"  {shown(source.path)}: {shown(reason)}", soft_wrap=True)
    if len(result.failed) > SHOWN_FAILURES:
        console.print(f"  and {len(result.failed) - SHOWN_FAILURES:,} more")
