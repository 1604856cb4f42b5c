"""Fixtures: a library and the service over it, called in-process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from query_api.app import create_app
from schemas.settings import Settings
from tests.harness.library import Library


@pytest.fixture
def settings() -> Settings:
    """The defaults, whatever the environment says."""
    return Settings.model_validate({"objects": {"buckets": ["pictures", "other"]}})


@pytest.fixture
async def library() -> AsyncIterator[Library]:
    """An empty library."""
    library = Library()
    await library.open()
    yield library
    await library.close()


@pytest.fixture
def app(library: Library, settings: Settings) -> FastAPI:
    """The service over the library."""
    return create_app(settings, library.ports)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client
