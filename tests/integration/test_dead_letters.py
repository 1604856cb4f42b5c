"""Dead letters and rejected pictures on the real servers: by the command, as an operator would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.harness.command_line import twinlens
from tests.harness.live import QUICK, Live, until
from tests.harness.pictures import picture
from tests.harness.reading import read_topic
from tests.harness.stack.stack import Addresses

GARBAGE = b'{"Records": "\xff\xfe'
NESTED = b'{"Records": ' + b"[" * 100 + b"]" * 100 + b"}"


@pytest.fixture
def live(all_servers: Addresses, twinlens_env: dict[str, str], tmp_path: Path) -> Iterator[Live]:
    """An installation of this test's own, set up but not started; only commands look at anything again."""
    live = Live(all_servers, {**twinlens_env, **QUICK, "TWINLENS_RECONCILE__AFTER_OUTAGE": "false"}, tmp_path)
    live.application.setup()
    yield live
    live.stop()


def printed(live: Live, *arguments: str, code: int = 0) -> str:
    """What the command prints."""
    done = twinlens(*arguments, environment={**live.environment, "COLUMNS": "200"})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def letters(live: Live, *arguments: str) -> list[dict[str, Any]]:
    """The letters that `list --json` prints."""
    return [json.loads(line) for line in printed(live, "dead-letters", "list", "--json", *arguments).splitlines()]


def send(live: Live, topic: str, key: bytes, value: bytes | None, headers: Mapping[str, bytes] | None = None) -> None:
    """Send a message as anybody could."""

    async def run() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=live.place.kafka)
        await producer.start()
        try:
            name = live.place.topic_prefix + topic
            await producer.send_and_wait(name, value, key=key, headers=list((headers or {}).items()))
        finally:
            await producer.stop()

    asyncio.run(run())


def test_a_message_that_nobody_understands_is_kept_replayed_and_dropped(live: Live) -> None:
    """Garbage goes to the dead letters with its bytes and coordinates, its neighbours go on, a replay happens once."""
    live.put("good.png", picture(1))
    send(live, "bucket-events", b"bad/\xff\xfekey", GARBAGE, {"trace": b"42"})
    send(live, "bucket-events", b"deep", NESTED)
    send(live, "contents", b"null", None)
    live.put("good too.png", picture(2))
    live.start("ingest", "index")
    until(lambda: len(letters(live)) >= 3, "three dead letters")
    until(lambda: live.catalog_keys() == {"good.png", "good too.png"}, "the neighbours are handled")

    [garbage] = letters(live, "--key", "bad")
    assert bytes.fromhex(garbage["value_hex"]) == GARBAGE
    assert bytes.fromhex(garbage["key_hex"]) == b"bad/\xff\xfekey"
    assert garbage["headers"] == {"trace": "42"}
    assert garbage["topic"].endswith("bucket-events")
    assert (garbage["error_type"], garbage["stage"], garbage["attempts"]) == ("MalformedMessage", "ingest", 1)
    assert [letter["key"] for letter in letters(live, "--topic", "contents")] == ["null"]
    assert [letter["key"] for letter in letters(live, "--stage", "index", "--since", "1h")] == ["null"]
    assert letters(live, "--error-type", "Nothing") == []
    assert "100" not in printed(live, "dead-letters", "show", garbage["id"])

    assert "replayed 1" in printed(live, "dead-letters", "replay", garbage["id"])
    assert "replayed 0" in printed(live, "dead-letters", "replay", garbage["id"])
    until(lambda: len(letters(live, "--key", "bad")) == 1, "it can't be understood the second time either")
    [again] = letters(live, "--key", "bad")
    assert again["id"] != garbage["id"]
    assert again["value_hex"] == garbage["value_hex"]
    sent = [value for _, value in asyncio.run(read_topic(live.place, "bucket-events"))]
    assert sent.count(GARBAGE) == 2

    printed(live, "dead-letters", "drop", "--all")
    assert letters(live) == []
    everything = letters(live, "--resolved")
    assert sorted(letter["resolution"] for letter in everything) == ["dropped", "dropped", "dropped", "replayed"]
    live.application.stop()


def test_commands_refuse_what_makes_no_sense(live: Live) -> None:
    """Wrong ids, filters with ids and nothing at all are answered with one clear line."""
    assert "looks like 3:17" in printed(live, "dead-letters", "show", "abc", code=2)
    assert "no dead letter 0:99" in printed(live, "dead-letters", "replay", "0:99", code=2)
    assert "--all" in printed(live, "dead-letters", "drop", code=2)
    assert "is no time" in printed(live, "dead-letters", "list", "--since", "soon", code=2)
    assert "--rejected" in printed(live, "retry", code=2)


def test_rejected_pictures_are_tried_again_on_request(live: Live) -> None:
    """What was rejected is listed with reason, time and attempts, and indexed by a retry once its limit was raised."""
    narrow = {"TWINLENS_LIMITS__MAX_SIDE": "16", "TWINLENS_LIMITS__MAX_OBJECT_BYTES": "3000"}
    strict = live.with_environment(narrow)
    live.put("wide.png", picture(1, side=32))
    live.put("heavy.bin", b"\x89PNG" + bytes(5000))
    live.put("broken.png", b"no picture at all")
    strict.start("ingest", "index")

    def listed() -> list[dict[str, Any]]:
        return [json.loads(line) for line in printed(live, "rejected", "--json").splitlines()]

    until(lambda: len(listed()) == 3, "three are rejected")
    found = {entry["key"]: entry for entry in listed()}
    assert found["wide.png"]["reason"].startswith("too_many_pixels")
    assert found["heavy.bin"]["reason"] == "too_many_bytes"
    assert found["broken.png"]["reason"].startswith("not_an_image")
    assert all(entry["decided_at"] and entry["attempts"] >= 1 for entry in found.values())
    assert "wide.png" in printed(live, "rejected", "--reason", "too_many_pixels")
    strict.application.stop()

    # Asked before anybody works under the new limits: a message that is delivered twice would let it pass as well.
    assert "another look at 1" in printed(live, "retry", "--rejected", "--reason", "too_many_pixels")
    live.start("ingest", "index")
    until(lambda: {entry["key"] for entry in listed()} == {"heavy.bin", "broken.png"}, "the raised limit lets it pass")
    printed(live, "retry", "--rejected")
    until(lambda: all(e["reason"].startswith("not_an_image") for e in listed()), "the others are looked at, too")
    settled = live.settles(broken=[b"no picture at all", b"\x89PNG" + bytes(5000)])
    assert settled.total == 0, settled.as_json()
