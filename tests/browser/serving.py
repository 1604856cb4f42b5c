"""The real query service, with uvicorn, in a thread of the test process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from imaging.embedding import OnnxEmbedder
from imaging.model_spec import load_spec
from query_api.app import create_app
from query_api.search.live_model import FixedModel, Model
from query_api.services import ReadingPorts
from query_api.sharing.gathered import GatheredVectors
from schemas.settings import ApiSettings, DatabaseSettings, ObjectSettings, Settings
from stores.catalog.engine import create_engine
from stores.catalog.migrate import upgrade
from stores.catalog.reading.sql import SqlCatalogReader
from stores.objects.memory import MemoryObjects
from stores.urls import Fetched, UnreachableUrl
from stores.vectors.memory import MemoryVectors
from tests.browser.catalog import BUCKET, Picture, Stores, fill

START_WITHIN_S = 120


@dataclass(slots=True)
class Site:
    """A running service. Its stores' ``outage`` flags take a server away."""

    url: str
    objects: MemoryObjects
    vectors: MemoryVectors


class KnownUrls:
    """The web in memory: it has the addresses that it was given, and no other."""

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self._pages = dict(pages)

    async def fetch(self, url: str, *, max_bytes: int) -> Fetched:
        """See ``stores.urls.UrlFetcher``."""
        await asyncio.sleep(0)
        data = self._pages.get(url)
        if data is None or len(data) > max_bytes:
            raise UnreachableUrl(f"nothing answers at {url}")
        return Fetched(data, "image/jpeg")


@contextmanager
def serving(
    folder: Path, pictures: Sequence[Picture], api: ApiSettings | None = None, urls: KnownUrls | None = None
) -> Iterator[Site]:
    """Index the pictures and serve them on a free port of this host until the block ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        ready = threading.Event()
        running = _Running(folder, pictures, api or ApiSettings(), urls, listener, ready)
        thread = threading.Thread(target=running.run, name="query-service")
        thread.start()
        try:
            assert ready.wait(START_WITHIN_S), "the query service did not start in time"
            assert running.site is not None, "the query service failed to start"
            yield running.site
        finally:
            running.stop()
            thread.join()


class _Running:
    def __init__(
        self,
        folder: Path,
        pictures: Sequence[Picture],
        api: ApiSettings,
        urls: KnownUrls | None,
        listener: socket.socket,
        ready: threading.Event,
    ) -> None:
        self._database = DatabaseSettings(url=SecretStr(f"sqlite+aiosqlite:///{folder / 'catalog.db'}"))
        self._pictures = pictures
        self._settings = Settings(database=self._database, objects=ObjectSettings(buckets=(BUCKET,)), api=api)
        self._urls = urls
        self._listener = listener
        self._ready = ready
        self._server: uvicorn.Server | None = None
        self.site: Site | None = None

    def run(self) -> None:
        """Serve until :meth:`stop`; ``ready`` is set when requests are answered, or when starting failed."""
        try:
            asyncio.run(self._serve())
        finally:
            self._ready.set()

    def stop(self) -> None:
        """End the service; to be called from another thread."""
        if self._server is not None:
            self._server.should_exit = True

    async def _serve(self) -> None:
        spec = load_spec("sscd")
        embedder = OnnxEmbedder(spec, threads=1)
        await upgrade(self._database.url.get_secret_value())
        stores = Stores(create_engine(self._database))
        await stores.vectors.ensure_collection(model_name=spec.name, dimension=spec.dimension)
        if self._pictures:
            await fill(stores, self._pictures, embedder)
        ports = ReadingPorts(
            catalog=SqlCatalogReader(stores.engine),
            vectors=stores.vectors,
            objects=stores.objects,
            model=FixedModel(Model(embedder, spec.copy_threshold, GatheredVectors(stores.vectors), spec.floor)),
            urls=self._urls,
        )
        app = create_app(self._settings, ports)
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, proxy_headers=False, timeout_graceful_shutdown=2)
        )
        self._server = server
        url = "http://{}:{}/".format(*self._listener.getsockname())
        self.site = Site(url, stores.objects, stores.vectors)
        self._listener.listen()
        # Connections wait in the listening socket's queue from here on.
        self._ready.set()
        await server.serve(sockets=[self._listener])
        await stores.engine.dispose()
