"""`twinlens dead-letters`: look at messages that could not be handled, send them again, or let them be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.common import AsJson, DataOption, command, print_json
from ops.hints import DATA
from schemas.errors import RequestRefused

if TYPE_CHECKING:
    from ops.dead_letters import Action, Filters

SHOWN_BYTES = 4096

app = typer.Typer(help="Messages that could not be handled.", no_args_is_help=True)

Topic = Annotated[str | None, typer.Option(help="Only letters that came from this topic; its last part is enough.")]
Stage = Annotated[str | None, typer.Option(help="Only letters of this stage: ingest, requests or index.")]
ErrorType = Annotated[str | None, typer.Option(help="Only letters with this type of error, as MalformedMessage.")]
Since = Annotated[str | None, typer.Option(help="Only letters since then: 30m, 2h, 7d or an ISO time.")]
Key = Annotated[str | None, typer.Option(help="Only letters whose key contains this.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids as list shows them, partition:offset.", metavar="[ID]...")]
All = Annotated[bool, typer.Option("--all", help="All open letters that the filters let through.")]


@app.command("list")
def list_letters(
    topic: Topic = None,
    stage: Stage = None,
    error_type: ErrorType = None,
    since: Since = None,
    key: Key = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Also those that were replayed or dropped.")] = False,
    as_json: AsJson = False,
    data: DataOption = DATA,
) -> None:
    """List the open letters, oldest first within a partition."""
    with command(data):
        filters = _filters(topic, stage, error_type, since, key)
        asyncio.run(_list(data, filters, resolved=resolved, json_lines=as_json))


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(help="An id as list shows it, partition:offset.", metavar="ID")],
    as_json: AsJson = False,
    data: DataOption = DATA,
) -> None:
    """Show one letter with the original message."""
    with command(data):
        from ops.dead_letters import as_json as letter_json
        from ops.dead_letters import as_text
        from ops.installation import Server, installation
        from ops.terminal import visible
        from stores.broker.dead_letters import KafkaDeadLetters, LetterId

        wanted = LetterId.parse(letter_id)
        letter = asyncio.run(KafkaDeadLetters(installation(data, Server.BROKER).kafka).letter(wanted))
        facts = letter_json(letter)
        if as_json:
            print_json(facts)
            return
        for name, fact in facts.items():
            if name not in ("value", "value_hex", "key_hex") or (name == "key_hex" and facts["key"] is None):
                typer.echo(f"{name:12} {visible(fact)}")
        value = letter.value or b""
        text = as_text(value[:SHOWN_BYTES]) or value[:SHOWN_BYTES].hex(" ")
        typer.echo(f"\n{visible(text, lines=True)}")
        if len(value) > SHOWN_BYTES:
            typer.echo(f"… {len(value) - SHOWN_BYTES:,} more bytes; --json shows all of them")


@app.command()
def replay(
    ids: Ids = None,
    everything: All = False,
    topic: Topic = None,
    stage: Stage = None,
    error_type: ErrorType = None,
    since: Since = None,
    key: Key = None,
    as_json: AsJson = False,
    data: DataOption = DATA,
) -> None:
    """Send the original messages to their topics again. A letter is replayed once; saying it twice does nothing."""
    with command(data):
        from ops.dead_letters import Action

        filters = _filters(topic, stage, error_type, since, key)
        _act(data, Action.REPLAY, ids or [], filters, everything=everything, as_json=as_json)


@app.command()
def drop(
    ids: Ids = None,
    everything: All = False,
    topic: Topic = None,
    stage: Stage = None,
    error_type: ErrorType = None,
    since: Since = None,
    key: Key = None,
    as_json: AsJson = False,
    data: DataOption = DATA,
) -> None:
    """Take letters off the list without sending them again. They stay readable until the topic's retention ends."""
    with command(data):
        from ops.dead_letters import Action

        filters = _filters(topic, stage, error_type, since, key)
        _act(data, Action.DROP, ids or [], filters, everything=everything, as_json=as_json)


def _filters(
    topic: str | None, stage: str | None, error_type: str | None, since: str | None, key: str | None
) -> Filters:
    from ops.dead_letters import Filters, moment

    return Filters(topic, stage, error_type, moment(since, datetime.now(UTC)), key)


async def _list(data: Path, filters: Filters, *, resolved: bool, json_lines: bool) -> None:
    from rich.table import Table

    from ops.dead_letters import as_json, matching
    from ops.installation import Server, installation
    from ops.terminal import shown, stdout

    table = Table("id", "time", "stage", "error", "attempts", "topic", "key", "")
    async for letter in matching(installation(data, Server.BROKER).kafka, filters, resolved=resolved):
        if json_lines:
            print_json(as_json(letter))
            continue
        error = f"{letter.error_type}: {letter.error}"[:120]
        name = (letter.key or b"").decode(errors="replace")
        when = f"{letter.time:%Y-%m-%d %H:%M:%S}"
        resolution, attempts = letter.resolution or "", str(letter.attempts)
        cells = (when, letter.stage, error, attempts, letter.topic, name, resolution)
        table.add_row(str(letter.id), *map(shown, cells))
    if not json_lines:
        stdout().print(table if table.row_count else "no dead letters")


def _act(data: Path, action: Action, ids: Sequence[str], filters: Filters, *, everything: bool, as_json: bool) -> None:
    from ops.dead_letters import Action, act
    from ops.installation import Server, installation

    chosen = [
        value for value in (filters.topic, filters.stage, filters.error_type, filters.since, filters.key) if value
    ]
    if bool(ids) == everything:
        raise RequestRefused("name the letters by their ids, or say --all, with or without filters")
    if ids and chosen:
        raise RequestRefused("filters go with --all, not with ids")
    kafka = installation(data, Server.BROKER).kafka
    done = asyncio.run(act(kafka, action, ids, filters if everything else None))
    if as_json:
        print_json({"action": str(action), "done": [str(letter) for letter in done.letters], "refused": done.refused})
    else:
        verb = "replayed" if action is Action.REPLAY else "dropped"
        typer.echo(f"{verb} {len(done.letters)}{': ' + ' '.join(map(str, done.letters)) if done.letters else ''}")
    if done.refused:
        raise RequestRefused("; ".join(done.refused))
