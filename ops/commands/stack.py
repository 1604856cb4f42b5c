"""The embedded stack, and how an installation is."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ops.commands.common import ApiKey, ApiUrl, AsJson, DataOption, command, ended
from ops.hints import DATA

app = typer.Typer()


class Objects(StrEnum):
    """Where the embedded stack keeps the pictures."""

    AUTO = "auto"
    MINIO = "minio"
    FOLDER = "folder"


@app.command()
def up(
    photos: Annotated[Path | None, typer.Option(help="Take the pictures in this folder, not painted ones.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End after the table; exit code 1 below 98 % found.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the figures to this file as JSON.")] = None,
    data: Annotated[Path, typer.Option(help="The folder for all data and logs of the stack.")] = DATA,
    port: Annotated[int | None, typer.Option(help="Of the page and the API; 6200 if it is free, else any.")] = None,
    objects: Annotated[
        Objects,
        typer.Option(
            help="auto: where the pictures of this data folder are; at first MinIO if there is one, else a folder."
        ),
    ] = Objects.AUTO,
) -> None:
    """Start everything on this machine, fill it with pictures, show that copies find them; until Ctrl-C."""
    with command(data):
        from ops.embedded.up import Options, run_up

        raise typer.Exit(asyncio.run(run_up(Options(data, photos, once, report, port, objects.value))))


@app.command()
def status(
    as_json: AsJson = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    data: DataOption = DATA,
) -> None:
    """Say what runs, where, and how many pictures can be found. Exit code 1: not all of it answers."""
    with command(data):
        from ops.status import run_status

        raise ended(well=asyncio.run(run_status(data, api_url=api_url, api_key=api_key, as_json=as_json)))
