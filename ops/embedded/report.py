"""What `twinlens up` tells: the result table, where everything is, and the figures as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from ops.embedded.searchable import Figures
from ops.embedded.stack import EmbeddedStack
from ops.embedded.trial import TransformResult, recall_at_1
from ops.hints import hint
from ops.terminal import shown

ENOUGH: Final = 0.98
"""The share of transformed copies that must find their original first."""


def result_table(results: Sequence[TransformResult]) -> Table:
    """Recall and time by kind of copy."""
    table = Table(title="Searches with transformed copies", title_justify="left")
    table.add_column("copy")
    for heading in ("searches", "original first", "recall@1", "median ms"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(
            result.transform,
            f"{result.searches}",
            f"{result.found}",
            f"{result.recall_at_1:.1%}",
            f"{result.median_ms:.0f}",
        )
    searches, found = sum(result.searches for result in results), sum(result.found for result in results)
    table.add_section()
    table.add_row("all", f"{searches}", f"{found}", f"{recall_at_1(results):.1%}", "")
    return table


def print_addresses(console: Console, stack: EmbeddedStack, data: Path) -> None:
    """The page's address and the ways to drop files."""
    console.print(f"\n[bold]Twinlens is up: {stack.api_url}[/]")
    if stack.console_url:
        console.print(f"Drop pictures into the bucket with the MinIO console: {stack.console_url}")
        console.print(f"(user and password are in {data / 'environment'}), with any S3 client at {stack.drop_into},")
        console.print(f"or with: {shown(hint('add FILE_OR_FOLDER…', data))}")
    else:
        console.print(f"Drop pictures into the folder {stack.drop_into}")
        console.print(f"or add them with: {shown(hint('add FILE_OR_FOLDER…', data))}")
    console.print(f"Search in the terminal with: {shown(hint('search FILE', data))}")


def write_report(
    path: Path, figures: Figures, *, seconds: float, results: Sequence[TransformResult], stack: EmbeddedStack
) -> None:
    """The figures as JSON. ``seconds``: from the command's start until everything was searchable."""
    content = {
        "objects": figures.objects,
        "contents": figures.contents,
        "indexed": figures.indexed,
        "seconds": round(seconds, 2),
        "recall_at_1": round(recall_at_1(results), 4) if results else None,
        "api": stack.api_url,
        "drop_into": stack.drop_into,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
