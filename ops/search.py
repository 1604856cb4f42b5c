"""`twinlens search`: a picture's matches in the terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ops.http_client import ApiClient
from ops.pictures import PathProblem
from ops.terminal import json_text, shown, stdout
from schemas.settings import ApiSettings

_COLOURS = {"exact": "bold green", "copy": "green", "similar": "yellow"}
_ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to


def api_url(settings: ApiSettings) -> str:
    """Where the query service of these settings answers on this machine."""
    host = "127.0.0.1" if settings.host in _ANYWHERE else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


async def run_search(
    url: str, file: Path, *, api_key: str | None, limit: int, min_score: float, bucket: str | None, as_json: bool
) -> bool:
    """Print the matches; whether there is one. Raises PathProblem, ApiAway, ApiRefused."""
    try:
        picture = await asyncio.to_thread(file.read_bytes)
    except OSError as error:
        raise PathProblem(f"{file} can't be read: {error.strerror}") from error
    parameters: dict[str, str | float] = {"limit": limit, "min_score": min_score}
    if bucket:
        parameters["bucket"] = bucket
    async with ApiClient(url, api_key=api_key) as client:
        answer = await client.search(picture, **parameters)
    if as_json:
        print(json_text(answer, indent=2))  # noqa: T201 - the answer
    else:
        _show(answer)
    return bool(answer["results"])


def _show(answer: dict[str, Any]) -> None:
    console = stdout()
    if not answer["results"]:
        console.print("nothing like it was found")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("score", justify="right")
    table.add_column("verdict")
    table.add_column("pixels", justify="right")
    table.add_column("picture", overflow="fold")
    for hit in answer["results"]:
        image = hit["image"]
        more = hit.get("keys_total", 1) - 1
        also = f"  (and under {more:,} more {'key' if more == 1 else 'keys'})" if more > 0 else ""
        table.add_row(
            f"{hit['score']:.1f}",
            Text(hit["verdict"], style=_COLOURS.get(hit["verdict"], "")),
            f"{image['width']} × {image['height']}",
            shown(f"{image['bucket']}/{image['key']}{also}"),
        )
    console.print(table)
