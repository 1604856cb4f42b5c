"""`twinlens duplicates`: groups of the same or nearly the same pictures, streamed as CSV, JSON lines or a table."""

from __future__ import annotations

import csv
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from enum import StrEnum
from typing import Any

from imaging.model_spec import load_spec
from ops.scanning import scanning
from ops.terminal import json_text, shown, stdout, visible
from query_api.search.duplicates import Group, exact_groups, near_groups
from query_api.search.live_model import LiveModel
from query_api.services import ReadingPorts, assemble
from schemas.settings import Settings
from stores.catalog.engine import create_engine
from stores.catalog.reading.sql import SqlCatalogReader
from stores.objects.opening import open_objects
from stores.vectors.milvus import MilvusVectors


class Output(StrEnum):
    """How groups are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


CSV_HEADER = ("group", "score", "bucket", "key", "sha256", "size", "width", "height")


async def run_duplicates(
    settings: Settings,
    *,
    near: bool,
    verify: bool,
    bucket: str | None,
    min_score: float | None,
    output: Output,
    limit_s: float,
) -> int:
    """Print every group as it is found, in bounded memory; how many there are. ``verify`` is about near ones.

    Raises Outage, and ScanTooLong after ``limit_s`` seconds.
    """
    printing = _printer(output)
    count = 0
    async with scanning("contents looked at", limit_s=limit_s, streams=True) as looked_at:
        async for group in _groups(settings, near=near, verify=verify, bucket=bucket, min_score=min_score):
            looked_at(1)
            if group is not None:
                count += 1
                printing(count, group)
    return count


async def _groups(
    settings: Settings, *, near: bool, verify: bool, bucket: str | None, min_score: float | None
) -> AsyncIterator[Group | None]:
    """The group that each content leads, or None."""
    catalog = SqlCatalogReader(create_engine(settings.database), settings.objects.buckets)
    vectors = MilvusVectors(settings.vectors)
    objects = open_objects(settings.objects)
    model = LiveModel(vectors, settings.model, catalog.switch)
    services = assemble(settings, ReadingPorts(catalog, vectors, objects, model))
    try:
        if near:
            least = load_spec(settings.model.spec).copy_threshold if min_score is None else min_score
            checked = services.verifying.for_client("command").contents if verify else None
            walk = near_groups(catalog, vectors, bucket=bucket, min_score=least, verify=checked)
            async for step in walk:
                yield step.group
        else:
            async for exact in exact_groups(catalog, bucket=bucket):
                yield exact.group
    finally:
        services.close()
        await objects.close()
        await vectors.close()
        await catalog.close()


def _rows(group: Group) -> Iterator[dict[str, Any]]:
    for found in group.contents:
        for image in found.images:
            content = found.content
            yield {
                "bucket": image.bucket,
                "key": image.key,
                "sha256": content.sha256,
                "size": image.size,
                "width": content.width,
                "height": content.height,
            }


def _cell(value: object) -> object:
    return visible(value) if isinstance(value, str) else value


def _printer(output: Output) -> Callable[[int, Group], None]:
    if output is Output.CSV:
        writer = csv.writer(sys.stdout)
        writer.writerow(CSV_HEADER)

        def as_csv(number: int, group: Group) -> None:
            writer.writerows([number, round(group.score, 2), *map(_cell, row.values())] for row in _rows(group))

        return as_csv
    if output is Output.JSON:

        def as_json(number: int, group: Group) -> None:
            entry = {"group": number, "score": round(group.score, 2), "images": list(_rows(group))}
            sys.stdout.write(json_text(entry) + "\n")

        return as_json
    console = stdout()

    def as_table(number: int, group: Group) -> None:
        console.print(f"[bold]{number}[/]  {group.size} pictures, {group.score:.1f}")
        for row in _rows(group):
            name = shown(f"{row['bucket']}/{row['key']}")
            console.print(f"   {name}  [dim]{row['width']} × {row['height']}, {row['size']:,} bytes[/]", soft_wrap=True)

    return as_table
