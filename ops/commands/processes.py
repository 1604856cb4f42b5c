"""What a supervisor runs: the setup, the workers and the query service. They go by their settings alone."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.common import AsJson, importing, print_json, process
from ops.privileges import StoreServer
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from schemas.settings import Settings

app = typer.Typer()


class Role(StrEnum):
    """The kinds of worker."""

    INGEST = "ingest"
    REQUESTS = "requests"
    INDEX = "index"


Users = Annotated[
    list[StoreServer] | None,
    typer.Option(help="Also create there the users of workers and query service, as `grants` does; may be repeated."),
]
Passwords = Annotated[
    Path | None,
    typer.Option(
        help="The folder with the users' passwords, in files such as mysql_writer_password, mysql_reader_password."
    ),
]


def settings_and_logs() -> Settings:
    """The settings of this process, with logging set up by them."""
    from ops.logs import configure_logging
    from schemas.settings import load_settings

    settings = load_settings()
    configure_logging(settings.log)
    return settings


def begin_tracing(settings: Settings, role: str) -> None:
    """Have a process send its traces, where ``tracing.endpoint`` says whereto. Raises ConfigurationError."""
    if not settings.tracing.endpoint:
        return
    try:
        from ops.tracing import start_tracing
    except ImportError as error:
        raise ConfigurationError(f"tracing.endpoint needs the extra `tracing`: {error}") from error
    start_tracing(settings.tracing, role)


def set_up_query_process(settings: Settings) -> None:
    """Logs and traces of one of several processes of the query service."""
    from ops.logs import configure_logging

    configure_logging(settings.log)
    begin_tracing(settings, "query")


@app.command()
def setup(users: Users = None, passwords: Passwords = None, as_json: AsJson = False) -> None:
    """Create topics, tables, collection, buckets and the notification rule. Safe to repeat."""
    if users and passwords is None:
        raise typer.BadParameter("--users needs --passwords, the folder with those of the users")
    with process():
        from ops.setup import run_setup

        made = asyncio.run(run_setup(settings_and_logs(), users or (), passwords or Path()))
        if as_json:
            print_json(made._asdict())


@app.command()
def worker(
    role: Annotated[
        Role,
        typer.Argument(help="ingest looks at objects, requests serves producers, index embeds contents."),
    ],
) -> None:
    """Run a worker until SIGTERM. Exit code 75: an outage outlasted the retry budget, start it again."""
    with process():
        with importing():
            from streams.process.worker import run_worker

        settings = settings_and_logs()
        begin_tracing(settings, role.value)
        raise typer.Exit(asyncio.run(run_worker(role.value, settings)))


@app.command()
def api() -> None:
    """Run the query service: the HTTP API and the web page."""
    with process():
        with importing():
            from query_api.server import serve

        settings = settings_and_logs()
        begin_tracing(settings, "query")
        serve(settings, partial(set_up_query_process, settings))
