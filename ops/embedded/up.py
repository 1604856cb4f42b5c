"""`twinlens up`: start the embedded stack, fill it, prove it, and keep it up."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.embedded.announcing import announce_folder_changes, announce_what_changed_meanwhile
from ops.embedded.errors import StackError
from ops.embedded.flushing import flush_when_idle
from ops.embedded.folder import DataFolder, Store
from ops.embedded.ports import free_port, is_free
from ops.embedded.report import ENOUGH, print_addresses, result_table, write_report
from ops.embedded.searchable import Figures, catalog_agrees, wait_until_searchable
from ops.embedded.stack import EmbeddedStack, minio_or_folder
from ops.embedded.trial import TransformResult, indexed_sample, recall_at_1, search_copies
from ops.gallery import make_gallery
from ops.hints import working
from ops.http_client import ApiClient
from ops.logs import configure_logging
from ops.pictures import Source, find_sources
from ops.progress import progress_bar
from ops.setup import run_setup
from ops.terminal import shown, stderr, stdout
from ops.upload import Uploaded, Uploader
from schemas.exit_codes import ExitCode
from schemas.settings import Settings, load_settings
from schemas.task_groups import run_with_background
from stores.objects.opening import open_objects
from stores.objects.ports import ObjectReader
from streams.assembly import for_comparing, for_reconcile
from streams.process.composition import WorkerParts, worker_parts
from streams.repair.drift import DriftKind

API_PORT: Final = 6200
GALLERY_SIZE: Final = 120
GALLERY_PREFIX: Final = "gallery/"
SAMPLE: Final = 25
"""Pictures whose copies are searched: 150 searches in all."""
ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for. ``port`` of None: 6200 if it is free, else any; 0: any."""

    data: Path
    photos: Path | None = None
    once: bool = False
    report: Path | None = None
    port: int | None = None
    objects: str = "auto"


class _Interrupted(BaseException):
    """Ctrl-C, SIGTERM or the closing of the terminal."""


async def run_up(options: Options) -> int:
    """The exit code: with ``once`` 0 if enough copies found their original, else 1. Raises StackError, Outage."""
    folder = DataFolder(options.data)
    if options.photos is not None:
        _pictures_in(options.photos)
    api_port = _api_port(options.port)
    with folder.held():
        before = folder.store()
        minio = minio_or_folder(None if options.objects == "auto" else Store(options.objects), folder)
        store = Store.MINIO if minio else Store.FOLDER
        stack = EmbeddedStack(folder, api_port=api_port, minio=minio)
        os.environ.update(stack.environment)
        with _logs_in(folder, load_settings()) as settings:
            folder.remember_store(store)
            folder.used = True
            up = Up(options, folder, stack, settings, is_new=before is None)
            up.print_store(store, before)
            try:
                return await run_with_background(up.run(), _signal())
            except _Interrupted:
                return ExitCode.OK if up.shown else ExitCode.INTERRUPTED
            finally:
                up.say("stopping")
                await stack.stop()


class Up:
    """One run of the command."""

    def __init__(
        self, options: Options, folder: DataFolder, stack: EmbeddedStack, settings: Settings, *, is_new: bool
    ) -> None:
        self._options = options
        self._folder = folder
        self._stack = stack
        self._settings = settings
        self._is_new = is_new
        self._refused: list[str] = []
        self._began = time.monotonic()
        self._console = stdout(soft_wrap=True)
        self._bars = stderr(soft_wrap=True)
        self.shown = False
        """Whether the result table was shown: an interruption after that is the normal end."""

    def say(self, text: str) -> None:
        """A line about what goes on."""
        self._bars.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/]  {text}")

    def print_store(self, store: Store, before: Store | None) -> None:
        """Where the pictures are, and what it means if that isn't where they were."""
        self.say(f"pictures are kept in {_store_in_words(store, self._folder)}")
        if before not in (None, store):
            self.say(
                f"[bold]until now they were in {_store_in_words(before, self._folder)}[/], and none is carried over: "
                f"--objects {before} goes back to them"
            )

    async def run(self) -> int:
        """All of it; returns only with ``once``."""
        self.say(f"starting the servers; their logs are in {self._folder.logs}")
        await asyncio.gather(self._paint_ahead(), self._start())
        async with worker_parts(self._settings) as parts, ApiClient(self._stack.api_url) as client:
            watching = asyncio.Event()
            background = [self._stack.supervise(self.say), flush_when_idle(parts)]
            if self._settings.objects.backend == "folder":
                background.append(announce_folder_changes(parts, watching))
            else:
                watching.set()
            return await run_with_background(self._serve(parts, client, watching), *background)

    async def _start(self) -> None:
        await self._stack.start_servers()
        await run_setup(self._settings)
        await self._stack.launch_workers()
        self._folder.write_environment(self._stack.environment)
        self.say("starting the workers and the query service")

    async def _serve(self, parts: WorkerParts, client: ApiClient, watching: asyncio.Event) -> int:
        await watching.wait()
        ports = for_reconcile(parts.ports)
        comparing = announce_what_changed_meanwhile(parts.settings, ports, parts.retry, self._print_refusal)
        return await run_with_background(self._prove(parts, client), comparing)

    def _print_refusal(self, refusal: str) -> None:
        self._refused.append(refusal)
        self.say(f"[bold red]refused:[/] {shown(working(refusal, self._options.data))}")

    async def _prove(self, parts: WorkerParts, client: ApiClient) -> int:
        uploaded = await self._drop(parts, await self._sources(parts))
        await self._stack.wait_for_workers()
        figures = await self._wait(parts, client, uploaded)
        seconds = time.monotonic() - self._began
        await parts.retry.run(parts.ports.vectors.flush)
        self.say(f"{figures.indexed:,} of {figures.objects:,} pictures are searchable, {figures.rejected:,} rejected")
        results = await self._try(client, [source.path for source in uploaded.present] or self._painted())
        if results:
            self._console.print(result_table(results))
        if self._options.report:
            write_report(self._options.report, figures, seconds=seconds, results=results, stack=self._stack)
        print_addresses(self._console, self._stack, self._options.data)
        self.shown = True
        enough = not results or recall_at_1(results) >= ENOUGH
        if not enough:
            self._console.print(f"[bold red]fewer than {ENOUGH:.0%} of the copies found their original first[/]")
        if not self._options.once:
            self._console.print(f"[bold]Ctrl-C stops everything;[/] pictures and index stay in {self._options.data}")
            await asyncio.Event().wait()
        return ExitCode.OK if enough else ExitCode.NOT_ALL

    async def _sources(self, parts: WorkerParts) -> list[Source]:
        """What to drop: the pictures that were named, else painted ones, which no collection of one's own gets."""
        if self._options.photos is not None:
            return _pictures_in(self._options.photos)
        if await has_others(parts.ports.objects, self._settings.objects.default_bucket, GALLERY_PREFIX):
            self.say("the bucket has pictures of your own, so no painted ones are added")
            return []
        return find_sources([await asyncio.to_thread(gallery, self._folder)], prefix=GALLERY_PREFIX)

    async def _paint_ahead(self) -> None:
        """While the servers of a new stack start, which takes as long."""
        if self._is_new and self._options.photos is None:
            await asyncio.to_thread(gallery, self._folder)

    def _painted(self) -> list[Path]:
        """The painted pictures that there are; some of them may be in the bucket."""
        folder = self._folder.gallery
        return [source.path for source in find_sources([folder])] if folder.exists() else []

    async def _drop(self, parts: WorkerParts, sources: list[Source]) -> Uploaded:
        objects = open_objects(self._settings.objects)
        bucket = self._settings.objects.default_bucket
        try:
            with progress_bar(self._bars) as progress:
                task = progress.add_task("dropping pictures into the bucket", total=len(sources))
                uploader = Uploader(objects, parts.retry, self._settings, bucket)
                uploaded = await uploader.upload(sources, lambda: progress.advance(task))
        finally:
            await objects.close()
        for source, reason in uploaded.failed:
            self.say(f"{source.path} was left out: {reason}")
        self.say(f"{len(uploaded.added):,} pictures dropped, {len(uploaded.unchanged):,} were there already")
        return uploaded

    async def _wait(self, parts: WorkerParts, client: ApiClient, uploaded: Uploaded) -> Figures:
        with progress_bar(self._bars) as progress:
            dropped = len(uploaded.present)
            task = progress.add_task("searchable", total=dropped)
            return await wait_until_searchable(
                client,
                lambda: self._agrees(parts),
                lambda done, known: progress.update(task, completed=done, total=max(known, dropped)),
            )

    async def _agrees(self, parts: WorkerParts) -> bool:
        """Whether the catalog agrees with the buckets, but for what it was refused to remove."""
        but_for = [DriftKind.ORPHAN_ROW] if self._refused else []
        ports = for_comparing(parts.ports)
        return await catalog_agrees(parts.settings.objects.buckets, ports, parts.retry, but_for=but_for)

    async def _try(self, client: ApiClient, paths: list[Path]) -> list[TransformResult]:
        sample = await indexed_sample(client, paths, SAMPLE)
        if not sample:
            return []
        with progress_bar(self._bars) as progress:
            task = progress.add_task("searching with transformed copies", total=len(sample) * 6)
            return await search_copies(client, sample, lambda: progress.advance(task))


async def has_others(objects: ObjectReader, bucket: str, prefix: str) -> bool:
    """Whether the bucket has an object whose key does not begin so."""
    async for state in objects.list(bucket):
        if not state.ref.key.startswith(prefix):
            return True
    return False


def _store_in_words(store: Store | None, folder: DataFolder) -> str:
    return f"MinIO ({shown(folder.minio)})" if store is Store.MINIO else f"a folder ({shown(folder.buckets)})"


def gallery(folder: DataFolder) -> Path:
    """The folder with the pictures that we paint ourselves: made once, in some ten seconds."""
    complete = folder.gallery / ".complete"
    if not complete.exists():
        make_gallery(folder.gallery, GALLERY_SIZE)
        complete.touch()
    return folder.gallery


def _pictures_in(photos: Path) -> list[Source]:
    sources = find_sources([photos])
    if not sources:
        raise StackError(f"there are no pictures in {photos}")
    return sources


def _api_port(wanted: int | None) -> int:
    if wanted and not is_free(wanted):
        raise StackError(f"port {wanted} is taken by another program; choose another one with --port (0: any)")
    return free_port(wanted=API_PORT if wanted is None else wanted)


@contextmanager
def _logs_in(folder: DataFolder, settings: Settings) -> Iterator[Settings]:
    """Our own log goes beside the others', since the terminal shows progress."""
    folder.logs.mkdir(parents=True, exist_ok=True)
    with (folder.logs / "up.log").open("a", encoding="utf-8") as stream:
        configure_logging(settings.log.model_copy(update={"format": "json"}))
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(stream)
        yield settings


async def _signal() -> None:
    """Raises _Interrupted when the process is asked to end."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in ENDING_SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    await stopping.wait()
    raise _Interrupted
