"""The ``twinlens`` command: where all commands come together. What each does is in ``ops/commands``."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.commands import dead_letters, grants, models, pictures, processes, repair, stack

app = typer.Typer(
    name="twinlens",
    help="A reverse image search engine that keeps itself up to date.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for module in (stack, pictures, repair, processes):
    app.add_typer(module.app)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(grants.app, name="grants")
app.add_typer(models.app, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"twinlens {version('twinlens')}")
        except PackageNotFoundError:
            typer.echo("twinlens, not installed")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """A reverse image search engine that keeps itself up to date."""


if __name__ == "__main__":
    app()
