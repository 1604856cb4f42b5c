"""The ``twinlens`` command. Each command is an adapter: it reads its arguments and calls what does the work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ops import dead_letters, grants
from ops.logs import configure_logging
from ops.models import commands as models
from ops.scanning import TIME_LIMIT_S, TimeLimit
from ops.terminal import plain, stderr, stdout, visible_json
from schemas.errors import ConfigurationError, Outage, RequestRefused, TwinlensError
from schemas.settings import Settings, load_settings

app = typer.Typer(
    name="twinlens",
    help="A reverse image search engine that keeps itself up to date.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(grants.app, name="grants")
app.add_typer(models.app, name="models")

EXIT_FAILURE = 1
EXIT_REFUSED = 3
EXIT_OUTAGE = 75
EXIT_INTERRUPTED = 130
EXIT_CONFIGURATION = 78


class Role(StrEnum):
    """The kinds of worker."""

    INGEST = "ingest"
    REQUESTS = "requests"
    INDEX = "index"


def complain(what: str, error: Exception) -> None:
    """Print an error. Its text may hold anything, lines of a log too."""
    stderr().print(plain(f"{what}:", style="bold red"), plain(error), soft_wrap=True)


@contextmanager
def friendly_errors() -> Iterator[None]:
    """Turn our own errors into one line and an exit code; anything else is a bug and keeps its traceback."""
    try:
        yield
    except ConfigurationError as error:
        complain("settings", error)
        raise typer.Exit(EXIT_CONFIGURATION) from error
    except Outage as error:
        complain(error.dependency, error)
        raise typer.Exit(EXIT_OUTAGE) from error
    except TwinlensError as error:
        complain("error", error)
        raise typer.Exit(EXIT_FAILURE) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends the command, without a traceback."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise typer.Exit(EXIT_INTERRUPTED) from error


def settings_and_logs() -> Settings:
    """The settings of this process, with logging set up by them."""
    settings = load_settings()
    configure_logging(settings.log)
    return settings


@app.command()
def setup() -> None:
    """Create topics, tables, collection, buckets and the notification rule. Safe to repeat."""
    from ops.setup import run_setup

    with friendly_errors():
        asyncio.run(run_setup(settings_and_logs()))


@app.command()
def worker(
    role: Annotated[
        Role,
        typer.Argument(help="ingest looks at objects, requests serves producers, index embeds contents."),
    ],
) -> None:
    """Run a worker until SIGTERM. Exit code 75: an outage outlasted the retry budget, start it again."""
    from streams.worker import run_worker

    with friendly_errors():
        settings = settings_and_logs()
        raise typer.Exit(asyncio.run(run_worker(role.value, settings)))


@app.command()
def recount(time_limit: TimeLimit = TIME_LIMIT_S) -> None:
    """Count images and contents anew, should the kept figures ever be wrong. Reads all rows; nobody is kept waiting."""
    from ops.recount import run_recount

    with friendly_errors():
        asyncio.run(run_recount(settings_and_logs(), limit_s=time_limit))
        typer.echo("recounted")


@app.command()
def rebuild_index() -> None:
    """Build the vectors' index anew, as `vectors.index` says. Searching pauses, then is slow until it is built."""
    from ops.rebuild_index import run_rebuild_index

    with friendly_errors(), interruptible():
        asyncio.run(run_rebuild_index(settings_and_logs()))


@app.command()
def api() -> None:
    """Run the query service: the HTTP API and the web page."""
    from query_api.server import serve

    with friendly_errors():
        settings = settings_and_logs()
        serve(settings, partial(configure_logging, settings.log))


class Objects(StrEnum):
    """Where the embedded stack keeps the pictures."""

    AUTO = "auto"
    MINIO = "minio"
    FOLDER = "folder"


DataOption = Annotated[Path, typer.Option("--data", help="The folder of an embedded stack; used if it runs.")]


@app.command()
def up(
    photos: Annotated[Path | None, typer.Option(help="Take the pictures in this folder, not painted ones.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End after the table; exit code 1 below 98 % found.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the figures to this file as JSON.")] = None,
    data: Annotated[Path, typer.Option(help="The folder for all data and logs of the stack.")] = Path(".twinlens"),
    port: Annotated[int | None, typer.Option(help="Of the page and the API; 6200 if it is free, else any.")] = None,
    objects: Annotated[Objects, typer.Option(help="auto: MinIO if there is one, else a folder.")] = Objects.AUTO,
) -> None:
    """Start everything on this machine, fill it with pictures, show that copies find them; until Ctrl-C."""
    from ops.embedded.up import Options, run_up

    with friendly_errors():
        raise typer.Exit(asyncio.run(run_up(Options(data, photos, once, report, port, objects.value))))


@app.command()
def add(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.", metavar="PATH...")],
    bucket: Annotated[str | None, typer.Option(help="The bucket; the first of the settings by default.")] = None,
    prefix: Annotated[str, typer.Option(help="Put before each key, e.g. holidays/.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Of folders, take files of every name.")] = False,
    data: DataOption = Path(".twinlens"),
) -> None:
    """Put files, and the pictures in folders, into the bucket. Exit code 1 if one could not be added."""
    from ops.add import run_add
    from ops.embedded.folder import use_running_stack

    with friendly_errors(), interruptible():
        use_running_stack(data)
        added_all = asyncio.run(
            run_add(settings_and_logs(), paths, bucket=bucket, prefix=prefix, everything=everything)
        )
        raise typer.Exit(0 if added_all else EXIT_FAILURE)


@app.command()
def search(
    file: Annotated[Path, typer.Argument(help="A picture.")],
    api_url: Annotated[str | None, typer.Option("--api", envvar="TWINLENS_API_URL", help="The query service.")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="TWINLENS_API_KEY", help="If it asks for one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Hits to show, at most.")] = 10,
    min_score: Annotated[float, typer.Option(min=0, max=100, help="Hits below this score are left out.")] = 0,
    bucket: Annotated[str | None, typer.Option(help="Search this bucket only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the query service's answer.")] = False,
    data: DataOption = Path(".twinlens"),
) -> None:
    """Search with a picture and print what is like it. Exit code 1 if nothing is."""
    from ops import search as searching
    from ops.embedded.folder import use_running_stack

    with friendly_errors(), interruptible():
        use_running_stack(data)
        found = asyncio.run(
            searching.run_search(
                api_url or searching.api_url(load_settings().api),
                file,
                api_key=api_key,
                limit=limit,
                min_score=min_score,
                bucket=bucket,
                as_json=as_json,
            )
        )
        raise typer.Exit(0 if found else EXIT_FAILURE)


@app.command()
def reconcile(
    bucket: Annotated[str | None, typer.Option(help="Compare this bucket only.")] = None,
    prefix: Annotated[str, typer.Option(help="Compare only objects whose key begins so; vectors are left out.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what differs.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove also more than reconcile.max_removed_share.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare bucket, catalog and vectors, and have healed what differs. Exit code 3: a removal was refused."""
    from ops.reconcile import run_reconcile

    with friendly_errors():
        settings = settings_and_logs()
        complete = asyncio.run(
            run_reconcile(settings, bucket=bucket, prefix=prefix, dry_run=dry_run, force=force, as_json=as_json)
        )
        if not complete:
            raise typer.Exit(EXIT_REFUSED)


@app.command("forget-bucket")
def forget_bucket(
    bucket: Annotated[str, typer.Argument(help="A bucket that is not among objects.buckets any more.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much there is.")] = False,
) -> None:
    """Remove a bucket's rows, vectors and snapshots, not its objects. Broken off, it can be run again."""
    from ops.forget import run_forget

    with friendly_errors(), interruptible():
        found = asyncio.run(run_forget(settings_and_logs(), bucket, dry_run=dry_run))
        counts = f"{found.images:,} images, {found.contents:,} contents and {found.vectors:,} "
        if dry_run:
            typer.echo(f"{bucket}: {counts}vectors would be forgotten")
        else:
            typer.echo(f"{bucket}: {counts}vectors without a content were forgotten, with those of the contents")


@app.command("import-predecessor")
def import_predecessor(
    database: Annotated[
        str,
        typer.Option(
            envvar="TWINLENS_PREDECESSOR_DATABASE", help="mysql+asyncmy://user:password@host:3306/image_search_engine"
        ),
    ],
    endpoint: Annotated[str, typer.Option(envvar="TWINLENS_PREDECESSOR_ENDPOINT", help="Its MinIO, host:port.")],
    access_key: Annotated[str, typer.Option(envvar="TWINLENS_PREDECESSOR_ACCESS_KEY", help="Of its MinIO.")],
    secret_key: Annotated[str, typer.Option(envvar="TWINLENS_PREDECESSOR_SECRET_KEY", help="Of its MinIO.")],
    source_bucket: Annotated[str, typer.Option(help="Its bucket.")] = "image-search-engine",
    bucket: Annotated[str | None, typer.Option(help="Where to; the first of the settings by default.")] = None,
    prefix: Annotated[str, typer.Option(help="Put before each key, e.g. old/.")] = "",
    after: Annotated[int, typer.Option(min=0, help="Go on behind the row with this id.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check everything, write nothing.")] = False,
) -> None:
    """Copy the pictures of the service that Twinlens replaces into the bucket. Exit code 1 if one was left out."""
    from ops.import_predecessor import Source, run_import

    with friendly_errors(), interruptible():
        source = Source(database, endpoint, access_key, secret_key, source_bucket)
        complete = asyncio.run(
            run_import(settings_and_logs(), source, bucket=bucket, prefix=prefix, after=after, dry_run=dry_run)
        )
        raise typer.Exit(0 if complete else EXIT_FAILURE)


@app.command()
def rejected(
    bucket: Annotated[str | None, typer.Option(help="Only this bucket.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason, as too_many_pixels.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    time_limit: TimeLimit = TIME_LIMIT_S,
) -> None:
    """List objects and pictures that were rejected, with reason, time and attempts."""
    from ops.retry import list_rejected

    with friendly_errors():
        asyncio.run(
            list_rejected(settings_and_logs(), bucket=bucket, reason=reason, as_json=as_json, limit_s=time_limit)
        )


@app.command()
def retry(
    only_rejected: Annotated[bool, typer.Option("--rejected", help="What was rejected; has to be said.")] = False,
    bucket: Annotated[str | None, typer.Option(help="Only this bucket.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason, as too_many_pixels.")] = None,
    time_limit: TimeLimit = TIME_LIMIT_S,
) -> None:
    """Have everything that was rejected looked at again, after a limit was raised or a bug was mended."""
    from ops.retry import run_retry

    with friendly_errors():
        if not only_rejected:
            raise RequestRefused("say what to try again: twinlens retry --rejected")
        asked = asyncio.run(run_retry(settings_and_logs(), bucket=bucket, reason=reason, limit_s=time_limit))
        typer.echo(f"asked for another look at {asked:,}")


@app.command()
def duplicates(
    near: Annotated[bool, typer.Option("--near", help="Pictures that look the same, not only the same bytes.")] = False,
    bucket: Annotated[str | None, typer.Option(help="Only this bucket.")] = None,
    min_score: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="With --near: of a link; the model's copy threshold by default."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one line per picture.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per group.")] = False,
    data: DataOption = Path(".twinlens"),
    time_limit: TimeLimit = TIME_LIMIT_S,
) -> None:
    """List groups of duplicates."""
    from ops.duplicates import Output, run_duplicates
    from ops.embedded.folder import use_running_stack

    output = Output.CSV if as_csv else Output.JSON if as_json else Output.TABLE
    with friendly_errors(), interruptible():
        use_running_stack(data)
        found = asyncio.run(
            run_duplicates(
                settings_and_logs(), near=near, bucket=bucket, min_score=min_score, output=output, limit_s=time_limit
            )
        )
        if output is Output.TABLE:
            typer.echo(f"{found} groups")


@app.command()
def watch(
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the oldest snapshot that is kept.")
    ] = False,
    copies: Annotated[bool, typer.Option("--copies", help="Only changes that are a copy of a known picture.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Print what changes, as it changes, until Ctrl-C."""
    from ops.watch import changes, is_copy, pretty

    async def follow() -> None:
        console = stdout()
        kafka = settings_and_logs().kafka

        def ready() -> None:
            stderr().print(f"watching {kafka.topics.image_changes}")

        async for change in changes(kafka, from_start=from_start, on_ready=ready):
            if copies and not is_copy(change):
                continue
            if as_json:
                typer.echo(visible_json(change.encode().decode()))
            else:
                console.print(pretty(change), soft_wrap=True)

    with friendly_errors(), suppress(KeyboardInterrupt):
        asyncio.run(follow())


@app.command()
def publish(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.", metavar="FILE...")],
    bucket: Annotated[str | None, typer.Option(help="The bucket; the first of the settings by default.")] = None,
    prefix: Annotated[str, typer.Option(help="Put before each key.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Of folders, take files of every name.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds without an outcome before giving up.")] = 60,
) -> None:
    """Send files as image requests over Kafka and wait for their outcomes. Exit code 1 if one was not stored."""
    from ops.publish import run_publish

    with friendly_errors(), interruptible():
        settings = settings_and_logs()
        stored_all = asyncio.run(
            run_publish(settings, paths, bucket=bucket, prefix=prefix, everything=everything, timeout_s=timeout)
        )
        raise typer.Exit(0 if stored_all else EXIT_FAILURE)


if __name__ == "__main__":
    app()
