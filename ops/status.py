"""`twinlens status`: what of an installation runs, where it is, and how many pictures can be found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from rich.table import Table

from ops.embedded.folder import DataFolder
from ops.http_client import ApiAway, ApiClient, ApiRefused
from ops.installation import NoInstallation, Server, api_url_of, installation, places_of
from ops.terminal import json_text, shown, stdout
from query_api.sharing.readiness import OK
from schemas.settings import Settings

HEALTH_S: Final = 5.0
_NAMES: Final = {
    Server.BROKER: "broker",
    Server.OBJECTS: "objects",
    Server.CATALOG: "catalog",
    Server.VECTORS: "vectors",
}
_COUNTS: Final = ("objects", "indexed", "rejected", "pending")


@dataclass(frozen=True, slots=True)
class Component:
    """A server or a process. ``state``: ``ok``, or what is wrong."""

    name: str
    where: str
    state: str


async def run_status(data: Path, *, api_url: str | None, api_key: str | None, as_json: bool) -> bool:
    """Print it; whether all is well. Raises NoInstallation where nothing answers at all."""
    settings = installation(data)
    running = DataFolder(data).is_held()
    url = api_url_of(settings, api_url)
    servers = await asyncio.gather(*[asyncio.to_thread(_server, server, settings) for server in _NAMES])
    query_service, pictures = await _query_service(url, api_key)
    if not running and query_service.state != OK and all(server.state != OK for server in servers):
        raise NoInstallation(
            f"no stack runs on {data}, and none of the servers in the settings answers: start one with `twinlens up`, "
            "or name the folder of another with --data"
        )
    workers = await asyncio.gather(*[_worker(*place) for place in _workers(settings)]) if running else []
    parts = [*servers, *workers, query_service]
    well = all(part.state == OK for part in parts)
    facts = {
        "data": str(data) if running else None,
        "page": url,
        "well": well,
        "parts": [asdict(part) for part in parts],
        "pictures": {name: pictures[name] for name in _COUNTS} if pictures else None,
        "version": pictures["version"] if pictures else None,
    }
    if as_json:
        print(json_text(facts))  # noqa: T201 - the answer
    else:
        _show(facts, parts)
    return well


def _server(server: Server, settings: Settings) -> Component:
    places = list(places_of(server, settings))
    answers = any(place.answers() for place in places)
    return Component(_NAMES[server], places[0].text, OK if answers else "no answer")


async def _query_service(url: str, api_key: str | None) -> tuple[Component, dict[str, Any] | None]:
    """The query service, and its counts if it tells them."""
    async with ApiClient(url, api_key=api_key) as client:
        try:
            return Component("query service", url, _wrong(await client.readiness())), await client.stats()
        except ApiAway:
            return Component("query service", url, "no answer"), None
        except ApiRefused as error:
            return Component("query service", url, str(error)), None


def _workers(settings: Settings) -> Iterator[tuple[str, str]]:
    """Of an embedded stack, where each worker tells how it is."""
    for name in ("ingest", "requests", "index"):
        section = getattr(settings, name)
        yield f"{name} worker", f"http://{section.health_host}:{section.health_port}"


async def _worker(name: str, url: str) -> Component:
    try:
        async with httpx.AsyncClient(timeout=HEALTH_S, trust_env=False) as client:
            response = await client.get(f"{url}/readyz")
        return Component(name, url, _wrong(response.json()["checks"]))
    except (httpx.TransportError, ValueError, KeyError):
        return Component(name, url, "no answer")


def _wrong(checks: Mapping[str, str]) -> str:
    """What of it is not well, or ``ok``."""
    return ", ".join(f"{name}: {state}" for name, state in checks.items() if state != OK) or OK


def _show(facts: dict[str, Any], parts: list[Component]) -> None:
    console = stdout()
    table = Table(box=None, pad_edge=False, show_header=False)
    for part in parts:
        colour = "green" if part.state == OK else "bold red"
        table.add_row(shown(part.name), f"[{colour}]{shown(part.state)}[/]", shown(part.where))
    console.print(table)
    counts = facts["pictures"]
    if counts:
        console.print(
            f"{counts['objects']:,} pictures: {counts['indexed']:,} can be found, {counts['pending']:,} are waiting, "
            f"{counts['rejected']:,} were rejected"
        )
