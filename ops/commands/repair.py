"""Comparing and healing, what was rejected, and what an operator does rarely."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ops.commands.common import (
    TIME_LIMIT_S,
    AsJson,
    DataOption,
    OneBucket,
    TimeLimit,
    ToBucket,
    command,
    ended,
    print_answer,
    print_json,
)
from ops.hints import DATA
from schemas.errors import RequestRefused
from schemas.exit_codes import ExitCode

app = typer.Typer()

Reason = Annotated[str | None, typer.Option(help="Only this reason, as too_many_pixels.")]


@app.command()
def reconcile(
    bucket: OneBucket = None,
    prefix: Annotated[str, typer.Option(help="Compare only objects whose key begins so; vectors are left out.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what differs.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove also more than reconcile.max_removed_share.")] = False,
    as_json: AsJson = False,
    data: DataOption = DATA,
) -> None:
    """Compare bucket, catalog and vectors, and have healed what differs. Exit code 3: a removal was refused."""
    with command(data):
        from ops.hints import working
        from ops.installation import Server, installation
        from ops.reconcile import run_reconcile

        settings = installation(data, Server.OBJECTS, Server.CATALOG, Server.VECTORS, Server.BROKER)
        complete = asyncio.run(
            run_reconcile(
                settings,
                bucket=bucket,
                prefix=prefix,
                dry_run=dry_run,
                force=force,
                as_json=as_json,
                hinted=lambda text: working(text, data),
            )
        )
        raise typer.Exit(ExitCode.OK if complete else ExitCode.REFUSED)


@app.command()
def rejected(
    bucket: OneBucket = None,
    reason: Reason = None,
    as_json: AsJson = False,
    data: DataOption = DATA,
    time_limit: TimeLimit = TIME_LIMIT_S,
) -> None:
    """List objects and pictures that were rejected, with reason, time and attempts."""
    with command(data):
        from ops.installation import Server, installation
        from ops.retry import list_rejected

        settings = installation(data, Server.CATALOG)
        asyncio.run(list_rejected(settings, bucket=bucket, reason=reason, as_json=as_json, limit_s=time_limit))


@app.command()
def retry(
    only_rejected: Annotated[bool, typer.Option("--rejected", help="What was rejected; has to be said.")] = False,
    bucket: OneBucket = None,
    reason: Reason = None,
    as_json: AsJson = False,
    data: DataOption = DATA,
    time_limit: TimeLimit = TIME_LIMIT_S,
) -> None:
    """Have everything that was rejected looked at again, after a limit was raised or a bug was mended."""
    with command(data):
        from ops.installation import Server, installation
        from ops.retry import run_retry

        if not only_rejected:
            raise RequestRefused("say what to try again: `twinlens retry --rejected`")
        settings = installation(data, Server.CATALOG, Server.BROKER)
        sent = asyncio.run(run_retry(settings, bucket=bucket, reason=reason, limit_s=time_limit))
        print_answer({"asked": sent}, f"asked for another look at {sent:,}", as_json=as_json)


@app.command()
def recount(as_json: AsJson = False, data: DataOption = DATA, time_limit: TimeLimit = TIME_LIMIT_S) -> None:
    """Count images and contents anew, should the kept figures ever be wrong. Reads all rows; nobody is kept waiting."""
    with command(data):
        from ops.installation import Server, installation
        from ops.recount import run_recount

        contents = asyncio.run(run_recount(installation(data, Server.CATALOG), limit_s=time_limit))
        print_answer({"contents": contents}, f"recounted, {contents:,} contents", as_json=as_json)


@app.command()
def rebuild_index(as_json: AsJson = False, data: DataOption = DATA) -> None:
    """Build the vectors' index anew, as `vectors.index` says. Searching pauses, then is slow until it is built."""
    with command(data):
        from ops.installation import Server, installation
        from ops.rebuild_index import run_rebuild_index

        settings = installation(data, Server.VECTORS)
        indexed, stored = asyncio.run(run_rebuild_index(settings))
        facts = {"index": settings.vectors.index, "indexed": indexed, "stored": stored}
        words = f"{settings.vectors.index}: {indexed:,} of {stored:,} vectors are in the new index"
        print_answer(facts, words, as_json=as_json)


@app.command("forget-bucket")
def forget_bucket(
    bucket: Annotated[str, typer.Argument(help="A bucket that is not among objects.buckets any more.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much there is.")] = False,
    as_json: AsJson = False,
    data: DataOption = DATA,
) -> None:
    """Remove a bucket's rows, vectors and snapshots, not its objects. Broken off, it can be run again."""
    with command(data):
        from ops.forget import run_forget
        from ops.installation import Server, installation

        settings = installation(data, Server.CATALOG, Server.VECTORS, Server.BROKER)
        found = asyncio.run(run_forget(settings, bucket, dry_run=dry_run))
        counts = f"{found.images:,} images, {found.contents:,} contents and {found.vectors:,} "
        numbers = {"images": found.images, "contents": found.contents, "vectors": found.vectors}
        done = "without a content were forgotten, with those of the contents"
        words = f"{bucket}: {counts}vectors {'would be forgotten' if dry_run else done}"
        print_answer({"bucket": bucket, "dry_run": dry_run, **numbers}, words, as_json=as_json)


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
    bucket: ToBucket = None,
    prefix: Annotated[str, typer.Option(help="Put before each key, e.g. old/.")] = "",
    after: Annotated[int, typer.Option(min=0, help="Go on behind the row with this id.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check everything, write nothing.")] = False,
    as_json: AsJson = False,
    data: DataOption = DATA,
) -> None:
    """Copy the pictures of the service that Twinlens replaces into the bucket. Exit code 1 if one was left out."""
    with command(data):
        from ops.import_predecessor import Predecessor, run_import
        from ops.installation import Server, installation

        source = Predecessor(database, endpoint, access_key, secret_key, source_bucket)
        source.check()
        settings = installation(data, Server.OBJECTS)
        done = asyncio.run(run_import(settings, source, bucket=bucket, prefix=prefix, after=after, dry_run=dry_run))
        if as_json:
            print_json(done.as_json(dry_run=dry_run))
        raise ended(well=done.complete)
