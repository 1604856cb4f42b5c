"""`twinlens dead-letters`: look at messages that could not be handled, send them again, or let them be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table

from ops.terminal import json_text, shown, stdout, visible
from schemas.errors import RequestRefused
from schemas.settings import KafkaSettings, load_settings
from stores.broker.dead_letters import DeadLetter, KafkaDeadLetters, LetterId

SHOWN_BYTES = 4096
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

app = typer.Typer(help="Messages that could not be handled.", no_args_is_help=True)

Topic = Annotated[str | None, typer.Option(help="Only letters that came from this topic; its last part is enough.")]
Stage = Annotated[str | None, typer.Option(help="Only letters of this stage: ingest, requests or index.")]
ErrorType = Annotated[str | None, typer.Option(help="Only letters with this type of error, as MalformedMessage.")]
Since = Annotated[str | None, typer.Option(help="Only letters since then: 30m, 2h, 7d or an ISO time.")]
Key = Annotated[str | None, typer.Option(help="Only letters whose key contains this.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids as list shows them, partition:offset.", metavar="[ID]...")]
All = Annotated[bool, typer.Option("--all", help="All open letters that the filters let through.")]


class Action(StrEnum):
    """What can be done with a letter."""

    REPLAY = "replay"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Filters:
    """Which letters are meant; None lets everything through."""

    topic: str | None = None
    stage: str | None = None
    error_type: str | None = None
    since: datetime | None = None
    key: str | None = None

    def let_through(self, letter: DeadLetter) -> bool:
        """Whether the letter is meant."""
        key = (letter.key or b"").decode(errors="replace")
        return (
            (self.topic is None or letter.topic == self.topic or letter.topic.endswith(f".{self.topic}"))
            and (self.stage is None or letter.stage == self.stage)
            and (self.error_type is None or letter.error_type == self.error_type)
            and (self.since is None or letter.time >= self.since)
            and (self.key is None or self.key in key)
        )


def moment(text: str | None, now: datetime) -> datetime | None:
    """A time from ``2h`` (ago) or ISO 8601 (UTC unless it says otherwise). Raises RequestRefused."""
    if text is None:
        return None
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if ago:
        return now - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise RequestRefused(f"{text!r} is no time; say 30m, 2h, 7d or 2026-01-31T12:00") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def matching(settings: KafkaSettings, filters: Filters, *, resolved: bool = False) -> AsyncIterator[DeadLetter]:
    """The letters that the filters let through."""
    async for letter in KafkaDeadLetters(settings).letters(resolved=resolved):
        if filters.let_through(letter):
            yield letter


class Done(NamedTuple):
    """Which letters were replayed or dropped, and why others could not be."""

    letters: list[LetterId]
    refused: list[str]


async def act(settings: KafkaSettings, action: Action, ids: Sequence[str], filters: Filters | None) -> Done:
    """Replay or drop the named letters, or all open ones that the filters let through; one refused stops no other.

    Raises RequestRefused for an id that is not there, before anything is done.
    """
    box = KafkaDeadLetters(settings)
    if filters is None:
        letters = [await box.letter(LetterId.parse(text)) for text in ids]
    else:
        letters = [letter async for letter in matching(settings, filters)]
    done = Done([], [])
    for letter in letters:
        if letter.resolution is None:
            try:
                await (box.replay(letter) if action is Action.REPLAY else box.drop(letter))
            except RequestRefused as refusal:
                done.refused.append(str(refusal))
            else:
                done.letters.append(letter.id)
    return done


def as_json(letter: DeadLetter) -> dict[str, Any]:
    """All of a letter; key and value as text where they are UTF-8, and in hex always."""
    return {
        "id": str(letter.id),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "stage": letter.stage,
        "error_type": letter.error_type,
        "error": letter.error,
        "attempts": letter.attempts,
        "time": letter.time.isoformat(),
        "resolution": letter.resolution,
        "key": _text(letter.key),
        "key_hex": letter.key.hex() if letter.key is not None else None,
        "value": _text(letter.value),
        "value_hex": letter.value.hex() if letter.value is not None else None,
        "headers": {
            name: None if value is None else value.decode(errors="replace") for name, value in letter.headers.items()
        },
        "truncated": letter.truncated,
        "size": letter.size,
    }


def _text(data: bytes | None) -> str | None:
    try:
        return data.decode() if data is not None else None
    except UnicodeDecodeError:
        return None


@app.command("list")
def list_letters(
    topic: Topic = None,
    stage: Stage = None,
    error_type: ErrorType = None,
    since: Since = None,
    key: Key = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Also those that were replayed or dropped.")] = False,
    json_lines: AsJson = False,
) -> None:
    """List the open letters, oldest first within a partition."""
    from ops.cli import friendly_errors

    async def run() -> None:
        filters = Filters(topic, stage, error_type, moment(since, datetime.now(UTC)), key)
        table = Table("id", "time", "stage", "error", "attempts", "topic", "key", "")
        found = matching(load_settings().kafka, filters, resolved=resolved)
        async for letter in found:
            if json_lines:
                typer.echo(json_text(as_json(letter)))
                continue
            error = f"{letter.error_type}: {letter.error}"[:120]
            name = (letter.key or b"").decode(errors="replace")
            when = f"{letter.time:%Y-%m-%d %H:%M:%S}"
            resolution, attempts = letter.resolution or "", str(letter.attempts)
            cells = (when, letter.stage, error, attempts, letter.topic, name, resolution)
            table.add_row(str(letter.id), *map(shown, cells))
        if not json_lines:
            stdout().print(table if table.row_count else "no dead letters")

    with friendly_errors():
        asyncio.run(run())


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(help="An id as list shows it, partition:offset.", metavar="ID")],
    json_lines: AsJson = False,
) -> None:
    """Show one letter with the original message."""
    from ops.cli import friendly_errors

    with friendly_errors():
        letter = asyncio.run(KafkaDeadLetters(load_settings().kafka).letter(LetterId.parse(letter_id)))
        facts = as_json(letter)
        if json_lines:
            typer.echo(json_text(facts, indent=2))
            return
        for name, fact in facts.items():
            if name not in ("value", "value_hex", "key_hex") or (name == "key_hex" and facts["key"] is None):
                typer.echo(f"{name:12} {visible(fact)}")
        value = letter.value or b""
        text = _text(value[:SHOWN_BYTES]) or value[:SHOWN_BYTES].hex(" ")
        typer.echo(f"\n{visible(text, lines=True)}")
        if len(value) > SHOWN_BYTES:
            typer.echo(f"… {len(value) - SHOWN_BYTES:,} more bytes; --json shows all of them")


def _act(action: Action, ids: Sequence[str], everything: bool, filters: Filters) -> None:
    chosen = [
        value for value in (filters.topic, filters.stage, filters.error_type, filters.since, filters.key) if value
    ]
    if bool(ids) == everything:
        raise RequestRefused("name the letters by their ids, or say --all, with or without filters")
    if ids and chosen:
        raise RequestRefused("filters go with --all, not with ids")
    done = asyncio.run(act(load_settings().kafka, action, ids, filters if everything else None))
    verb = "replayed" if action is Action.REPLAY else "dropped"
    typer.echo(f"{verb} {len(done.letters)}{': ' + ' '.join(map(str, done.letters)) if done.letters else ''}")
    if done.refused:
        raise RequestRefused("; ".join(done.refused))


@app.command()
def replay(
    ids: Ids = None,
    everything: All = False,
    topic: Topic = None,
    stage: Stage = None,
    error_type: ErrorType = None,
    since: Since = None,
    key: Key = None,
) -> None:
    """Send the original messages to their topics again. A letter is replayed once; saying it twice does nothing."""
    from ops.cli import friendly_errors

    with friendly_errors():
        filters = Filters(topic, stage, error_type, moment(since, datetime.now(UTC)), key)
        _act(Action.REPLAY, ids or [], everything, filters)


@app.command()
def drop(
    ids: Ids = None,
    everything: All = False,
    topic: Topic = None,
    stage: Stage = None,
    error_type: ErrorType = None,
    since: Since = None,
    key: Key = None,
) -> None:
    """Take letters off the list without sending them again. They stay readable until the topic's retention ends."""
    from ops.cli import friendly_errors

    with friendly_errors():
        filters = Filters(topic, stage, error_type, moment(since, datetime.now(UTC)), key)
        _act(Action.DROP, ids or [], everything, filters)
