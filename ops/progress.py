"""The progress bars of the commands. They go to standard error, so that answers can be piped."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ops.terminal import stderr


def progress_bar(console: Console | None = None, *, hidden: bool = False, remaining: bool = False) -> Progress:
    """A bar with a description, a count and the time; without a terminal only its end is printed.

    With ``remaining``, also how long it may still take.
    """
    left = [TextColumn("left:"), TimeRemainingColumn()] if remaining else []
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *left,
        console=console or stderr(),
        # rich would send to standard error what is printed to standard output meanwhile.
        redirect_stdout=False,
        disable=hidden,
    )
