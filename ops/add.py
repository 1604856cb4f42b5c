"""`twinlens add`: files and folders of this machine into the bucket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.installation import indexed_bucket
from ops.pictures import NOTHING_FOUND, SkippedFile, Source, find_sources
from ops.progress import progress_bar
from ops.settled import RejectedKey, Waiting, print_rejected, rejected_of
from ops.terminal import json_text, shown, stderr
from ops.upload import Uploaded, Uploader
from schemas.settings import Settings
from stores.objects.left_out import LeftOut
from stores.objects.opening import open_objects
from streams.common.backoff import OutageRetry, Outages

SHOWN_FAILURES = 20


@dataclass(frozen=True, slots=True)
class Verbosity:
    """How much is said: ``verbose`` names all that was left out, ``as_json`` prints everything for programs."""

    verbose: bool = False
    as_json: bool = False


async def run_add(
    settings: Settings,
    paths: Sequence[Path],
    *,
    bucket: str | None,
    prefix: str,
    everything: bool,
    verbosity: Verbosity,
    waiting: Waiting | None = None,
) -> bool:
    """Add them all and say what became of them, and what was left out and why; whether all went well.

    ``waiting``: until each is indexed or rejected. Raises PathProblem for a path that is not there, ConfigurationError
    for a bucket that is not indexed, StillPending, and Outage.
    """
    bucket = indexed_bucket(settings, bucket)
    left_out: list[SkippedFile] = []
    excluded = LeftOut(settings.objects.exclude)
    sources = find_sources(
        paths, prefix=prefix, everything=everything, excludes=excluded.excludes, left_out=left_out.append
    )
    if not sources:
        if not verbosity.as_json:
            stderr().print(NOTHING_FOUND)
        _print(Uploaded(), left_out, None, bucket, verbosity)
        return False
    result = await _uploaded(settings, bucket, sources)
    if waiting is None:
        _print(result, left_out, None, bucket, verbosity)
        return not result.failed
    with progress_bar() as progress:
        task = progress.add_task("searchable", total=len(result.present))
        rejected = await rejected_of(waiting, bucket, result.present, lambda: progress.advance(task))
    _print(result, left_out, rejected, bucket, verbosity)
    return not (result.failed or rejected)


async def _uploaded(settings: Settings, bucket: str, sources: Sequence[Source]) -> Uploaded:
    objects = open_objects(settings.objects)
    try:
        with progress_bar() as progress:
            task = progress.add_task(f"adding to {bucket}", total=len(sources))
            uploader = Uploader(objects, OutageRetry(settings.retry, Outages()), settings, bucket)
            return await uploader.upload(sources, lambda: progress.advance(task))
    finally:
        await objects.close()


def _print(
    result: Uploaded,
    left_out: Sequence[SkippedFile],
    rejected: Sequence[RejectedKey] | None,
    bucket: str,
    verbosity: Verbosity,
) -> None:
    if verbosity.as_json:
        facts = {
            "bucket": bucket,
            "added": [source.key for source in result.added],
            "unchanged": [source.key for source in result.unchanged],
            "failed": [{"path": str(source.path), "reason": reason} for source, reason in result.failed],
            "left_out": [{"path": str(one.path), "reason": one.reason} for one in left_out],
            "rejected": None if rejected is None else [one._asdict() for one in rejected],
        }
        print(json_text(facts))  # noqa: T201 - the answer
        return
    if result.present or result.failed:
        _print_added(result)
    print_rejected(rejected or [])
    if left_out:
        counts = Counter(one.reason for one in left_out)
        named = ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common())
        stderr().print(f"{len(left_out):,} left out: {named}", soft_wrap=True)
    if verbosity.verbose:
        for one in left_out:
            stderr().print(f"  {shown(one.path)}: {one.reason}", soft_wrap=True)


def _print_added(result: Uploaded) -> None:
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
