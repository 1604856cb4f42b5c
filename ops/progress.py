"""The progress bars of the commands. They go to standard error, so that answers can be piped."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ops.terminal import stderr


def progress_bar(console: Console | None = None, *, hidden: bool = False) -> Progress:
    """A bar with a description, a count and the time; without a terminal only its end is printed."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console or stderr(),
        # rich would send to standard error what is printed to standard output meanwhile.
        redirect_stdout=False,
        disable=hidden,
    )
