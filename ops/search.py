"""`twinlens search`: a picture's matches in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from ops.http_client import ApiClient, ApiRefused
from ops.queries import QueryPicture, QueryUnreadable
from ops.terminal import json_text, plain, shown, stderr, stdout
from schemas.errors import TwinlensError
from schemas.exit_codes import ExitCode

_COLOURS = {"exact": "bold green", "copy": "green", "likely copy": "cyan", "similar": "yellow"}
COPIES: Final = frozenset({"exact", "copy"})
"""The verdicts that `--copies` lets through."""


@dataclass(frozen=True, slots=True)
class HitFilter:
    """Which hits are wanted, of each picture."""

    limit: int = 10
    min_score: float = 0
    bucket: str | None = None
    only_copies: bool = False

    @property
    def parameters(self) -> dict[str, str | float]:
        """For the query service."""
        parameters: dict[str, str | float] = {"limit": self.limit, "min_score": self.min_score, "verify": "true"}
        return parameters | ({"bucket": self.bucket} if self.bucket else {})

    def of(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer with the wanted hits alone."""
        if not self.only_copies:
            return answer
        return {**answer, "results": [hit for hit in answer["results"] if hit["verdict"] in COPIES]}


async def run_search(
    url: str, queries: Sequence[QueryPicture], kept: HitFilter, *, api_key: str | None, as_json: bool
) -> ExitCode:
    """Ask the query service at the URL; see ``search_all``."""
    async with ApiClient(url, api_key=api_key) as client:
        return await search_all(client, queries, kept, as_json=as_json)


async def search_all(client: ApiClient, queries: Sequence[QueryPicture], kept: HitFilter, *, as_json: bool) -> ExitCode:
    """Print the matches of each picture; as grep, whether there was one, or an error.

    A picture that can't be searched with stops no other. Raises ApiAway.
    """
    found = failed = False
    for query in queries:
        try:
            answer = kept.of(await client.search(await query.read(), **kept.parameters))
        except (QueryUnreadable, ApiRefused) as error:
            failed = True
            _print_failure(query, error, as_json=as_json)
            continue
        found = found or bool(_alike(answer))
        if as_json:
            print(json_text({"picture": query.name, **answer}))  # noqa: T201 - the answer
            continue
        if len(queries) > 1:
            stdout().print(f"[bold]{shown(query.name)}[/]", soft_wrap=True)
        print_hits(answer)
    return ExitCode.ERROR if failed else ExitCode.OK if found else ExitCode.NOT_ALL


def _print_failure(query: QueryPicture, error: TwinlensError, *, as_json: bool) -> None:
    stderr().print(plain("error:", style="bold red"), plain(f"{query.name} {error}"), soft_wrap=True)
    if as_json:
        print(json_text({"picture": query.name, "error": str(error)}))  # noqa: T201 - the answer


def _alike(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The hits that are more like the picture than chance would have it."""
    return [hit for hit in answer["results"] if not hit.get("weak")]


def print_hits(answer: dict[str, Any]) -> None:
    """Print the matches as a table, without weak ones, and how many are left out or not indexed yet."""
    console = stdout()
    hits = _alike(answer)
    if hits:
        console.print(_table(hits))
    else:
        console.print("nothing like it was found")
    if weak := len(answer["results"]) - len(hits):
        below = f"below {answer['floor']:g}, no more alike than chance would have it"
        console.print(f"{weak:,} weak {'match' if weak == 1 else 'matches'} left out ({below})", style="dim")
    if pending := answer.get("pending", 0):
        console.print(f"{pending:,} {'picture waits' if pending == 1 else 'pictures wait'} to be indexed", style="dim")


def _table(hits: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("score", justify="right")
    table.add_column("verdict")
    table.add_column("pixels", justify="right")
    table.add_column("picture", overflow="fold")
    for hit in hits:
        image = hit["image"]
        more = hit.get("keys_total", 1) - 1
        also = f"  (and under {more:,} more {'key' if more == 1 else 'keys'})" if more > 0 else ""
        table.add_row(
            f"{hit['score']:.1f}",
            verdict_of(hit),
            f"{image['width']} × {image['height']}",
            shown(f"{image['bucket']}/{image['key']}{also}"),
        )
    return table


def verdict_of(hit: dict[str, Any]) -> Text:
    """Its verdict; of a copy, whether it was verified and what was changed, of others, whether one is likely."""
    kind = "likely copy" if hit.get("likely_copy") else str(hit["verdict"])
    text = Text(kind, style=_COLOURS.get(kind, ""))
    verified = hit.get("verified")
    if verified and verified["is_copy"]:
        changes = ", ".join(_in_words(each["kind"], each["value"]) for each in verified["changes"])
        text.append(f" (verified{': ' if changes else ''}{changes})", style="dim")
    return text


def _in_words(kind: str, value: float) -> str:
    match kind:
        case "cropped":
            return f"{value:.0%} of the area"
        case "turned":
            return f"turned {value:+.0f}°"
        case _:
            return kind
