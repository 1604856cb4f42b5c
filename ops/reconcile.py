"""`twinlens reconcile`: compare bucket, catalog and vectors, and heal what differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ops.installation import indexed_buckets
from ops.terminal import json_text, shown, stderr, stdout
from schemas.settings import Settings
from streams.assembly import for_reconcile
from streams.process.composition import WorkerParts, served_parts
from streams.repair.drift import DriftKind, Phase, Report
from streams.repair.reconcile import Reconciliation, Scope

_HEALED_BY = {
    DriftKind.MISSING: "look at the object",
    DriftKind.STALE: "look at the object or its content",
    DriftKind.UNREADABLE: "look at the object or its content",
    DriftKind.ORPHAN_ROW: "look at the object",
    DriftKind.LEFT_OUT: "look at the object",
    DriftKind.ORPHAN_CONTENT: "look at the content",
    DriftKind.ORPHAN_VECTOR: "delete the vector after a second look",
    DriftKind.MISSING_VECTOR: "look at the content with verify",
    DriftKind.PENDING_TOO_LONG: "look at the content with verify",
}


async def run_reconcile(
    settings: Settings,
    *,
    bucket: str | None,
    prefix: str,
    dry_run: bool,
    force: bool,
    as_json: bool,
    hinted: Callable[[str], str],
) -> bool:
    """Compare the named bucket or all; whether nothing was refused. Raises Outage, ConfigurationError.

    ``hinted`` makes the hints in a refusal work here.
    """
    buckets = indexed_buckets(settings, bucket)
    async with served_parts(settings) as parts:
        scopes = [Scope(name, prefix, dry_run=dry_run, force=force) for name in buckets]
        reports = [await _run_shown(parts, scope, shown=not as_json) for scope in scopes]
    if as_json:
        print(json_text([report.as_json() for report in reports]))  # noqa: T201 - the answer
    else:
        _show(reports, hinted)
    return not any(report.refused for report in reports)


async def _run_shown(parts: WorkerParts, scope: Scope, *, shown: bool) -> Report:
    """One bucket, with a progress bar on standard error."""
    known = await parts.retry.run(lambda: parts.ports.catalog.count_images(scope.bucket, prefix=scope.prefix))
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[found]} differences"),
        TimeElapsedColumn(),
        console=stderr(),
    )
    run = Reconciliation(for_reconcile(parts.ports), parts.retry, parts.settings.reconcile)
    with progress if shown else nullcontext():
        task = progress.add_task(scope.bucket, total=max(known, 1), found=0)
        async for report in run.run(scope):
            looked_at = _looked_at(report)
            progress.update(
                task,
                description=f"{scope.bucket}: {report.phase.replace('_', ' ')}",
                completed=looked_at,
                total=max(known, looked_at),
                found=report.differences,
            )
    return report


def _looked_at(report: Report) -> int:
    if report.phase in (Phase.OBJECTS, Phase.REMOVALS):
        return max(report.compared.objects, report.compared.rows)
    return max(report.compared.contents, report.compared.vectors)


def _show(reports: Sequence[Report], hinted: Callable[[str], str]) -> None:
    console = stdout()
    for report in reports:
        looked = report.compared
        title = f"{report.bucket}{'/' + report.prefix if report.prefix else ''}"
        table = Table(title=shown(title), title_justify="left")
        for heading in ("difference", "found", "for example", "not healed: dry run" if report.dry_run else "healed by"):
            table.add_column(heading, justify="right" if heading == "found" else "left", overflow="fold")
        for kind in DriftKind:
            example = report.examples.get(kind, [""])[0]
            healed = _HEALED_BY[kind] if report.drift[kind] else ""
            table.add_row(kind.replace("_", " "), f"{report.drift[kind]:,}", shown(example), healed)
        console.print(table)
        console.print(
            f"{looked.objects:,} objects, {looked.rows:,} rows, {looked.contents:,} contents and "
            f"{looked.vectors:,} vectors compared; "
            f"{report.hints:,} hints sent, {report.vectors_deleted:,} vectors deleted"
            + (f"; went on where the run of {report.started:%H:%M:%S} UTC stopped" if report.resumed else "")
        )
        for refusal in report.refused:
            console.print(f"[bold red]refused:[/] {shown(hinted(refusal))}", highlight=False)
