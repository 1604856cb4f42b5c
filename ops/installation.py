"""The installation that a command works on: the embedded stack that runs, else the servers that the settings name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ops.embedded.folder import use_running_stack
from ops.logs import configure_logging
from schemas.errors import ConfigurationError, TwinlensError
from schemas.settings import ApiSettings, Settings, load_settings

CONNECT_S: Final = 3.0
_ANYWHERE: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to
_PORTS: Final = {"http": 80, "https": 443, "mysql+asyncmy": 3306}


class NoInstallation(TwinlensError):
    """What the command needs is not there; the text says what, and what to do."""


class Server(StrEnum):
    """What a command may need, by the setting that says where it is."""

    BROKER = "kafka.bootstrap_servers"
    OBJECTS = "objects.endpoint"
    CATALOG = "database.url"
    VECTORS = "vectors.uri"
    API = "the query service"


class Place(NamedTuple):
    """Where a server is: an address, or a path of this machine."""

    text: str
    host: str = ""
    port: int = 0
    path: Path | None = None

    def answers(self) -> bool:
        """Whether something is there: a connection can be made, the file or folder exists."""
        if self.path is not None:
            return self.path.exists()
        try:
            socket.create_connection((self.host, self.port), timeout=CONNECT_S).close()
        except OSError:
            return False
        return True


def installation(data: Path, *needed: Server, api: str | None = None) -> Settings:
    """The settings of the installation, with logging set up by them, once all that is ``needed`` answers.

    So a command says at once that nothing is there, instead of waiting for an outage to end. ``api``: the query service
    that the command line names. Raises NoInstallation, StackError and ConfigurationError.
    """
    running = use_running_stack(data)
    settings = load_settings()
    configure_logging(settings.log)
    places = {server: list(places_of(server, settings, api)) for server in needed}
    silent = [
        f"{found[0].text} ({server})" for server, found in places.items() if not any(place.answers() for place in found)
    ]
    if silent:
        where = " and ".join(silent)
        if running:
            raise NoInstallation(f"a stack runs on {data}, but nothing is at {where}; its logs are in {data / 'logs'}")
        raise NoInstallation(
            f"no stack runs on {data}, and nothing is at {where}: start one with `twinlens up`, name the folder of "
            "another with --data, or the servers in the settings"
        )
    return settings


def indexed_bucket(settings: Settings, named: str | None) -> str:
    """The bucket that the command line names, or the first. Raises ConfigurationError for one that is not indexed."""
    return indexed_buckets(settings, named)[0]


def indexed_buckets(settings: Settings, named: str | None) -> list[str]:
    """The bucket that the command line names, or all. Raises ConfigurationError for one that is not indexed."""
    if named is None:
        return list(settings.objects.buckets)
    if named not in settings.objects.buckets:
        raise ConfigurationError(f"{named} is not among objects.buckets: it is not indexed")
    return [named]


def places_of(server: Server, settings: Settings, api: str | None = None) -> Iterator[Place]:
    """Where a server may be asked, by the settings; of several, one that answers will do."""
    match server:
        case Server.BROKER:
            for address in settings.kafka.bootstrap_servers.split(","):
                yield _address(settings.kafka.bootstrap_servers, f"//{address.strip()}", 9092)
        case Server.OBJECTS if settings.objects.backend == "folder":
            yield Place(str(settings.objects.folder), path=settings.objects.folder)
        case Server.OBJECTS:
            yield _address(
                settings.objects.endpoint, f"//{settings.objects.endpoint}", 443 if settings.objects.secure else 80
            )
        case Server.CATALOG:
            yield _database(settings.database.url.get_secret_value())
        case Server.VECTORS:
            yield _address(settings.vectors.uri, settings.vectors.uri, 19530)
        case Server.API:
            url = api_url_of(settings, api)
            yield _address(url, url, 80)


def api_url_of(settings: Settings, named: str | None = None) -> str:
    """The query service that the command line names, or that of the settings."""
    return named or api_url(settings.api)


def api_url(settings: ApiSettings) -> str:
    """Where the query service of these settings answers on this machine."""
    host = "127.0.0.1" if settings.host in _ANYWHERE else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _address(text: str, url: str, port: int) -> Place:
    parts = urlsplit(url)
    try:
        return Place(text, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, port))
    except ValueError:
        return Place(text)


def _database(url: str) -> Place:
    """Never its text whole: it holds a password."""
    parts = urlsplit(url)
    if parts.scheme.startswith("sqlite"):
        path = Path(parts.path.removeprefix("/"))
        return Place(str(path), path=path)
    return _address(parts.netloc.rpartition("@")[2], url, 3306)
