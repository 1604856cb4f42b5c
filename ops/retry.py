"""`twinlens rejected` and `twinlens retry --rejected`: pictures that were refused, and another look at them."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from ops.installation import indexed_buckets
from ops.scanning import scanning
from ops.terminal import json_text, shown, stdout
from schemas.settings import Settings
from streams.process.composition import worker_parts
from streams.repair.rejections import PAGE, Rejected, rejected, retry

LOOKED_AT = "objects and contents looked at"


async def run_retry(settings: Settings, *, bucket: str | None, reason: str | None, limit_s: float) -> int:
    """Ask for another look at everything that is rejected; how many.

    Raises Outage, ConfigurationError, and ScanTooLong after ``limit_s`` seconds.
    """
    sent = 0
    async with worker_parts(settings) as parts, scanning(LOOKED_AT, limit_s=limit_s) as looked_at:
        outbox, topics, clock = parts.ports.outbox, parts.ports.topics, parts.ports.clock
        for name in indexed_buckets(settings, bucket):
            waiting: list[Rejected] = []
            async for entry in rejected(parts.ports.catalog, name, reason=reason, looked_at=looked_at):
                waiting.append(entry)
                if len(waiting) == PAGE:
                    sent += await retry(waiting, outbox, topics, clock)
                    waiting.clear()
            sent += await retry(waiting, outbox, topics, clock)
    return sent


async def list_rejected(
    settings: Settings, *, bucket: str | None, reason: str | None, as_json: bool, limit_s: float
) -> None:
    """Print everything that is rejected, with reason, time and attempts. Raises ScanTooLong."""
    table = Table("object", "reason", "decided", "attempts")
    async with worker_parts(settings) as parts, scanning(LOOKED_AT, limit_s=limit_s, streams=as_json) as looked_at:
        for name in indexed_buckets(settings, bucket):
            async for entry in rejected(parts.ports.catalog, name, reason=reason, looked_at=looked_at):
                if as_json:
                    print(json_text(_as_json(name, entry)))  # noqa: T201 - the answer
                    continue
                where = f"{name}/{entry.keys[0]}" if entry.keys else str(entry.subject)
                decided = f"{entry.decided_at:%Y-%m-%d %H:%M:%S}" if entry.decided_at else ""
                table.add_row(shown(where), shown(str(entry.reason)), decided, str(entry.attempts))
    if not as_json:
        stdout().print(table if table.row_count else "nothing is rejected")


def _as_json(bucket: str, entry: Rejected) -> dict[str, Any]:
    return {
        "bucket": bucket,
        "key": entry.keys[0] if entry.keys else None,
        "subject": str(entry.subject),
        "reason": str(entry.reason),
        "decided_at": entry.decided_at.isoformat() if entry.decided_at else None,
        "attempts": entry.attempts,
    }
