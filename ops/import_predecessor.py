"""`twinlens import-predecessor`: the pictures of the service that Twinlens replaces into the bucket."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import SecretStr
from rich.console import Console
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from ops.installation import indexed_bucket
from ops.predecessor import Copier, Outcome, PredecessorPicture, Result, Rows
from ops.progress import progress_bar
from ops.terminal import shown
from schemas.errors import ConfigurationError
from schemas.settings import DatabaseSettings, ObjectSettings, Settings
from stores.catalog.engine import create_engine
from stores.objects.left_out import LeftOut
from stores.objects.opening import open_objects
from stores.objects.s3 import S3Objects
from streams.common.backoff import OutageRetry, Outages
from streams.common.concurrency import side_by_side

CONCURRENCY: Final = 8
DRIVER: Final = "mysql+asyncmy"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """Where the predecessor keeps its rows and objects."""

    database: str
    endpoint: str
    access_key: str
    secret_key: str
    bucket: str

    def check(self) -> None:
        """Raises ConfigurationError for a database URL of another kind."""
        try:
            driver = make_url(self.database).drivername
        except ArgumentError as error:
            raise ConfigurationError("--database is no URL") from error
        if driver != DRIVER:
            raise ConfigurationError(f"--database has to begin with {DRIVER}://, not {driver}://")

    def engine(self) -> AsyncEngine:
        """Its database, which connects on first use."""
        return create_engine(DatabaseSettings(url=SecretStr(self.database)))

    def objects(self) -> S3Objects:
        """Its MinIO, which the predecessor speaks to without TLS."""
        return S3Objects(
            ObjectSettings(
                endpoint=self.endpoint, access_key=self.access_key, secret_key=SecretStr(self.secret_key), secure=False
            )
        )


@dataclass(slots=True)
class Import:
    """How far an import has come; what is left out is printed as it is met."""

    console: Console
    counts: Counter[Outcome] = field(default_factory=Counter)
    last_id: int | None = None
    """Every row up to this id has been dealt with."""

    def note(self, picture: PredecessorPicture, result: Result) -> None:
        """Count the picture, and say why if it was left out."""
        self.counts[result.outcome] += 1
        if result.outcome.is_failure:
            self.console.print(f"{picture.id} {shown(picture.meta_uuid)}: {shown(result.why)}", soft_wrap=True)

    def print_counts(self, *, dry_run: bool) -> None:
        """Print the counts, and from which id on an import can go on."""
        counted = [f"{self.counts[outcome]:,} {outcome}" for outcome in Outcome if self.counts[outcome]]
        beginning = "nothing written; would be: " if dry_run else ""
        self.console.print(beginning + (", ".join(counted) or "no rows"), soft_wrap=True)
        if self.last_id is not None:
            self.console.print(f"all rows up to the id {self.last_id} were dealt with", soft_wrap=True)

    def as_json(self, *, dry_run: bool) -> dict[str, Any]:
        """What became of the rows, for programs."""
        return {
            "dry_run": dry_run,
            "counts": {str(outcome): self.counts[outcome] for outcome in Outcome},
            "last_id": self.last_id,
        }

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return not any(outcome.is_failure for outcome in self.counts)


async def run_import(
    settings: Settings, source: Predecessor, *, bucket: str | None, prefix: str, after: int, dry_run: bool
) -> Import:
    """Copy all pictures behind the row ``after`` and say what became of them.

    Raises ConfigurationError for a bucket that is not indexed and a database that is not the predecessor's, and Outage.
    """
    bucket = indexed_bucket(settings, bucket)
    async with AsyncExitStack() as opened:
        engine = source.engine()
        opened.push_async_callback(engine.dispose)
        theirs, ours = source.objects(), open_objects(settings.objects)
        opened.push_async_callback(theirs.close)
        opened.push_async_callback(ours.close)
        await theirs.check(source.bucket)
        await ours.check(bucket)
        retry = OutageRetry(settings.retry, Outages())
        copier = Copier(
            source=theirs,
            source_bucket=source.bucket,
            objects=ours,
            bucket=bucket,
            prefix=prefix,
            left_out=LeftOut(settings.objects.exclude),
            max_bytes=settings.limits.max_object_bytes,
            retry=retry,
            dry_run=dry_run,
        )
        try:
            return await _import(Rows(engine, retry), copier, after=after)
        except DBAPIError as error:
            raise ConfigurationError(f"the predecessor's database: {error.orig}") from error


async def _import(rows: Rows, copier: Copier, *, after: int) -> Import:
    progress = progress_bar()
    done = Import(progress.console)
    task = progress.add_task(f"importing to {copier.bucket}", total=await rows.count(after=after))

    async def one(picture: PredecessorPicture) -> None:
        done.note(picture, await copier.copy(picture))
        progress.advance(task)

    try:
        with progress:
            async with aclosing(rows.pages(after=after)) as pages:
                async for page in pages:
                    await side_by_side([one(picture) for picture in page], limit=CONCURRENCY)
                    done.last_id = page[-1].id
    finally:
        done.print_counts(dry_run=copier.dry_run)
    return done
