"""Messages that could not be handled: which are meant, send them again, or let them be."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from schemas.errors import RequestRefused
from schemas.settings import KafkaSettings
from stores.broker.dead_letters import DeadLetter, KafkaDeadLetters, LetterId

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


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
        "key": as_text(letter.key),
        "key_hex": letter.key.hex() if letter.key is not None else None,
        "value": as_text(letter.value),
        "value_hex": letter.value.hex() if letter.value is not None else None,
        "headers": {
            name: None if value is None else value.decode(errors="replace") for name, value in letter.headers.items()
        },
        "truncated": letter.truncated,
        "size": letter.size,
    }


def as_text(data: bytes | None) -> str | None:
    """The data where it is UTF-8."""
    try:
        return data.decode() if data is not None else None
    except UnicodeDecodeError:
        return None
