"""The model that the live collection was made with, which is the only one that queries may be embedded with."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

import structlog

from imaging.embedding import Embedder, OnnxEmbedder
from imaging.model_spec import ModelSpec, load_spec
from schemas.collection import OTHER_FILE, is_same_model, model_id_of
from schemas.errors import ConfigurationError, Outage
from schemas.settings import ModelSettings
from stores.vectors.ports import VectorReader

CHECK_EVERY_S = 10.0
"""A swapped alias (another model) is noticed within so many seconds."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """An embedder and the score (0 to 100) from which on its hits count as copies."""

    embedder: Embedder
    copy_threshold: float


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


class LiveModel(ModelSource):
    """Follows the live collection; loads a model in a thread and keeps it until the collection names another."""

    def __init__(self, vectors: VectorReader, settings: ModelSettings) -> None:
        self._vectors = vectors
        self._settings = settings
        self._loaded: Model | None = None
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
            name = await self._vectors.model_name()
        except Outage:
            if loaded is None:
                raise
            return loaded
        if loaded is not None and is_same_model(name, loaded.embedder.model_name):
            return loaded
        model = await asyncio.to_thread(self._load, name)
        _log.info("model_loaded", model=model.embedder.model_name)
        return model

    def _load(self, name: str) -> Model:
        spec = self._spec(model_id_of(name))
        if not is_same_model(name, spec.name):
            raise ConfigurationError(f"the live collection was made by {name}, not {spec.name}: {OTHER_FILE}")
        return Model(
            OnnxEmbedder(spec, threads=self._settings.threads, providers=self._settings.providers), spec.copy_threshold
        )

    def _spec(self, model_id: str) -> ModelSpec:
        """The configured spec if the collection was made with it, else the built-in one of that name."""
        configured = load_spec(self._settings.spec)
        return configured if configured.id == model_id else load_spec(model_id)
