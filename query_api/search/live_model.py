"""The model that the live collection was made with, which is the only one that queries may be embedded with.

A model goes with the collection that it made: a query that was embedded by one is searched in that one's collection,
also if the alias has moved on meanwhile. Both are there until `twinlens models switch --finish`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from imaging.embedding import Embedder, OnnxEmbedder
from imaging.model_spec import ModelSpec, find_spec, load_spec
from query_api.sharing.gathered import GatheredVectors
from schemas.collection import OTHER_FILE, is_same_model, model_id_of
from schemas.errors import ConfigurationError, Outage, TwinlensError
from schemas.model_switch import ModelSwitch
from schemas.settings import ModelSettings
from stores.vectors.ports import LiveCollection, VectorReader

CHECK_EVERY_S = 5.0
"""A moved alias (another model) is noticed within so many seconds."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """An embedder, the collection of its vectors, and two scores (0 to 100).

    Hits from ``copy_threshold`` on count as copies; those below ``floor`` are as near as chance would have it.
    """

    embedder: Embedder
    copy_threshold: float
    vectors: VectorReader
    floor: float = 0.0


class ModelSource(Protocol):
    """Where the handlers get the model from."""

    async def current(self) -> Model:
        """The live model. Raises VectorIndexOutage, ConfigurationError or ModelError."""


@dataclass(frozen=True, slots=True)
class FixedModel(ModelSource):
    """A model that never changes, for tests and measurements."""

    model: Model

    async def current(self) -> Model:
        """The model."""
        return self.model


@dataclass(frozen=True, slots=True)
class _Loading:
    live: LiveCollection
    task: asyncio.Task[Model]


class LiveModel(ModelSource):
    """Follows the live collection. A model is loaded in a thread; until that is done, the one before answers.

    ``switch`` reads the switch of models from the catalog, which says where a model's spec was found.
    """

    def __init__(
        self, vectors: VectorReader, settings: ModelSettings, switch: Callable[[], Awaitable[ModelSwitch]]
    ) -> None:
        self._vectors = vectors
        self._settings = settings
        self._switch = switch
        self._loaded: Model | None = None
        self._live: LiveCollection | None = None
        self._loading: _Loading | None = None
        self._checked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def current(self) -> Model:
        """The live model; an outage while one is loaded is left to the search to notice."""
        if self._loaded is not None and time.monotonic() - self._checked_at < CHECK_EVERY_S:
            return self._loaded
        async with self._lock:
            if self._loaded is None or time.monotonic() - self._checked_at >= CHECK_EVERY_S:
                self._loaded = await self._follow(self._loaded)
                self._checked_at = time.monotonic()
        return self._loaded

    async def _follow(self, loaded: Model | None) -> Model:
        try:
            live = await self._vectors.live()
        except Outage:
            if loaded is None:
                raise
            return loaded
        if loaded is not None and live == self._live:
            return loaded
        loading = self._begin_to_load(live)
        if loaded is not None and not loading.done() and await _answers(loaded.vectors):
            return loaded
        try:
            # Whoever gives up waiting, as a check of readiness does, does not end it for those who come next.
            model = await asyncio.shield(loading)
        except TwinlensError as error:
            self._loading = None
            if loaded is None or not await _answers(loaded.vectors):
                raise
            # Nobody who searches needs to suffer for a file that is missing on this machine, as long as all is there.
            _log.error("model_not_loaded", model=live.model_name, error=str(error))
            return loaded
        self._live, self._loading = live, None
        _log.info("model_loaded", model=model.embedder.model_name, collection=live.name)
        return model

    def _begin_to_load(self, live: LiveCollection) -> asyncio.Task[Model]:
        if self._loading is None or self._loading.live != live:
            self._loading = _Loading(live, asyncio.create_task(self._load(live)))
        return self._loading.task

    async def _load(self, live: LiveCollection) -> Model:
        switch = await self._switch()
        embedder, spec = await asyncio.to_thread(self._embedder, live.model_name, switch)
        return Model(embedder, spec.copy_threshold, GatheredVectors(self._vectors.of(live.name)), spec.floor)

    def _embedder(self, name: str, switch: ModelSwitch) -> tuple[Embedder, ModelSpec]:
        spec = self._spec(name, switch)
        if not is_same_model(name, spec.name):
            raise ConfigurationError(f"the live collection was made by {name}, not {spec.name}: {OTHER_FILE}")
        embedder = OnnxEmbedder(spec, threads=self._settings.threads, providers=self._settings.providers)
        return embedder, spec

    def _spec(self, name: str, switch: ModelSwitch) -> ModelSpec:
        """The configured spec if the collection was made with it, or that of a switch, or the built-in one."""
        configured = load_spec(self._settings.spec)
        if configured.id == model_id_of(name):
            return configured
        for model in (switch.old, switch.new):
            if model is not None and model.name == name:
                return find_spec(name, model.spec)
        return load_spec(model_id_of(name))


async def _answers(vectors: VectorReader) -> bool:
    """Whether a collection is still there, and searchable."""
    try:
        await vectors.check()
    except Outage:
        return False
    return True
