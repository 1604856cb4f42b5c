"""What is done with pictures: adding, searching, publishing, listing duplicates, watching changes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ops.commands.common import (
    TIME_LIMIT_S,
    ApiKey,
    ApiUrl,
    AsJson,
    DataOption,
    OneBucket,
    TimeLimit,
    ToBucket,
    command,
    ended,
)
from ops.hints import DATA
from schemas.collection import MAX_WINDOW

app = typer.Typer()

Paths = Annotated[list[Path], typer.Argument(help="Files and folders.", metavar="PATH...")]
Everything = Annotated[bool, typer.Option("--all", help="Of folders, take files of every name.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until all can be found; say what was rejected, and why.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds without any progress before giving up.")]


@app.command()
def add(
    paths: Paths,
    bucket: ToBucket = None,
    prefix: Annotated[str, typer.Option(help="Put before each key, e.g. holidays/.")] = "",
    everything: Everything = False,
    wait: Wait = False,
    timeout: Timeout = 60,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name each file that is left out, and why.")] = False,
    as_json: AsJson = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    data: DataOption = DATA,
) -> None:
    """Put files, and the pictures in folders, into the bucket. Exit code 1 if one could not be added."""
    with command(data):
        from ops.add import Verbosity, run_add
        from ops.installation import Server, api_url_of, installation
        from ops.pictures import check_paths
        from ops.settled import Waiting

        check_paths(paths)
        needed = [Server.OBJECTS, Server.API] if wait else [Server.OBJECTS]
        settings = installation(data, *needed, api=api_url)
        waiting = Waiting(api_url_of(settings, api_url), api_key, timeout) if wait else None
        added_all = asyncio.run(
            run_add(
                settings,
                paths,
                bucket=bucket,
                prefix=prefix,
                everything=everything,
                waiting=waiting,
                verbosity=Verbosity(verbose, as_json),
            )
        )
        raise ended(well=added_all)


@app.command()
def publish(
    paths: Paths,
    bucket: ToBucket = None,
    prefix: Annotated[str, typer.Option(help="Put before each key.")] = "",
    everything: Everything = False,
    wait: Wait = False,
    timeout: Timeout = 60,
    as_json: AsJson = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    data: DataOption = DATA,
) -> None:
    """Send files as image requests over Kafka and wait for their outcomes. Exit code 1 if one was not stored."""
    with command(data):
        from ops.installation import Server, api_url_of, installation
        from ops.pictures import check_paths
        from ops.publish import run_publish
        from ops.settled import Waiting

        check_paths(paths)
        needed = [Server.BROKER, Server.API] if wait else [Server.BROKER]
        settings = installation(data, *needed, api=api_url)
        stored_all = asyncio.run(
            run_publish(
                settings,
                paths,
                bucket=bucket,
                prefix=prefix,
                everything=everything,
                timeout_s=timeout,
                waiting=Waiting(api_url_of(settings, api_url), api_key, timeout) if wait else None,
                as_json=as_json,
            )
        )
        raise ended(well=stored_all)


@app.command()
def search(
    pictures: Annotated[
        list[str], typer.Argument(help="Files, folders, http(s) URLs; - for standard input.", metavar="PICTURE...")
    ],
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_WINDOW, help="Hits to show, at most.")] = 10,
    min_score: Annotated[float, typer.Option(min=0, max=100, help="Hits below this score are left out.")] = 0,
    copies: Annotated[bool, typer.Option("--copies", help="Only the same bytes, and copies.")] = False,
    bucket: OneBucket = None,
    everything: Everything = False,
    as_json: AsJson = False,
    data: DataOption = DATA,
) -> None:
    """Search with pictures and print what is like them. Exit code 1 if nothing is, 2 if one can't be read."""
    with command(data):
        from ops.installation import Server, api_url_of, installation
        from ops.queries import find_queries
        from ops.search import HitFilter, run_search

        queries = find_queries(pictures, everything=everything)
        settings = installation(data, Server.API, api=api_url)
        code = asyncio.run(
            run_search(
                api_url_of(settings, api_url),
                queries,
                HitFilter(limit, min_score, bucket, only_copies=copies),
                api_key=api_key,
                as_json=as_json,
            )
        )
        raise typer.Exit(code)


@app.command()
def duplicates(
    near: Annotated[bool, typer.Option("--near", help="Pictures that look the same, not only the same bytes.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="With --near: only what local features confirm; reads the objects.")
    ] = False,
    bucket: OneBucket = None,
    min_score: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="With --near: of a link; the model's copy threshold by default."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one line per picture.")] = False,
    as_json: AsJson = False,
    data: DataOption = DATA,
    time_limit: TimeLimit = TIME_LIMIT_S,
) -> None:
    """List groups of duplicates."""
    with command(data):
        from ops.duplicates import Output, run_duplicates
        from ops.installation import Server, installation

        output = Output.CSV if as_csv else Output.JSON if as_json else Output.TABLE
        needed = [Server.CATALOG, *([Server.VECTORS] if near else []), *([Server.OBJECTS] if verify else [])]
        found = asyncio.run(
            run_duplicates(
                installation(data, *needed),
                near=near,
                verify=verify,
                bucket=bucket,
                min_score=min_score,
                output=output,
                limit_s=time_limit,
            )
        )
        if output is Output.TABLE:
            typer.echo(f"{found:,} group{'' if found == 1 else 's'}")


@app.command()
def watch(
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the oldest snapshot that is kept.")
    ] = False,
    copies: Annotated[bool, typer.Option("--copies", help="Only changes that are a copy of a known picture.")] = False,
    as_json: AsJson = False,
    data: DataOption = DATA,
) -> None:
    """Print what changes, as it changes, until Ctrl-C."""
    with command(data):
        from ops.installation import Server, installation
        from ops.watch import run_watch

        settings = installation(data, Server.BROKER)
        with suppress(KeyboardInterrupt):
            asyncio.run(run_watch(settings, from_start=from_start, only_copies=copies, as_json=as_json))
