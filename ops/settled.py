"""Waiting until pictures that were put into the bucket can be found, and why some never will."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ops.http_client import ApiAway, ApiClient
from ops.pictures import Source
from ops.terminal import shown, stderr
from schemas.errors import Outage
from schemas.records import ImageState, ObjectRef
from streams.common.concurrency import side_by_side

POLL_S: Final = 0.5
AT_A_TIME: Final = 8
SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Waiting:
    """Which query service is asked, and after how many seconds without any progress it is given up."""

    api: str
    api_key: str | None = None
    timeout_s: float = 60


class RejectedKey(NamedTuple):
    """A picture that is in the bucket and can't be found, and why."""

    key: str
    reason: str


class StillPending(Outage):
    """Pictures are in the bucket, and nobody has looked at them in time."""

    dependency = "workers"


async def rejected_of(
    waiting: Waiting, bucket: str, sources: Iterable[Source], advance: Callable[[], object]
) -> list[RejectedKey]:
    """Wait until each of the files, as it is now, is indexed or rejected; those that are rejected, by key.

    Calls ``advance`` for each that is settled. Raises StillPending, ApiRefused.
    """
    digests = {ObjectRef(bucket, source.key): await asyncio.to_thread(_digest, source.path) for source in sources}
    async with ApiClient(waiting.api, api_key=waiting.api_key) as client:
        return await wait_until_settled(client, digests, timeout_s=waiting.timeout_s, advance=advance)


async def wait_until_settled(
    client: ApiClient,
    pending: Mapping[ObjectRef, str],
    *,
    timeout_s: float,
    advance: Callable[[], object],
    poll_s: float = POLL_S,
) -> list[RejectedKey]:
    """Wait until each object is indexed or rejected with the bytes of this SHA-256; see ``rejected_of``."""
    left, rejected = dict(pending), list[RejectedKey]()
    loop = asyncio.get_running_loop()

    async def look(ref: ObjectRef) -> None:
        try:
            image = await client.image(ref.image_id)
        except ApiAway:
            return
        if image is None or image["state"] == ImageState.PENDING or image["sha256"] not in (None, left[ref]):
            return
        del left[ref]
        if image["state"] == ImageState.REJECTED:
            rejected.append(RejectedKey(ref.key, str(image["reason"])))
        advance()

    moved, before = loop.time(), len(left)
    while left:
        await side_by_side([look(ref) for ref in list(left)], limit=AT_A_TIME)
        if len(left) != before:
            moved, before = loop.time(), len(left)
        elif loop.time() - moved > timeout_s:
            raise StillPending(
                f"{len(left):,} of {len(pending):,} pictures are still pending, and none was settled for "
                f"{timeout_s:g} s; they stay in the bucket, and `twinlens status` says what runs"
            )
        elif left:
            await asyncio.sleep(poll_s)
    return sorted(rejected)


def print_rejected(rejected: Iterable[RejectedKey]) -> None:
    """The first of them, each with its reason, on standard error."""
    rejected = list(rejected)
    if rejected:
        stderr().print(f"[bold red]{len(rejected):,} rejected[/]")
    for key, reason in rejected[:SHOWN]:
        stderr().print(f"  {shown(key)}: {shown(reason)}", soft_wrap=True)
    if len(rejected) > SHOWN:
        stderr().print(f"  and {len(rejected) - SHOWN:,} more")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
