"""How far a failure of the object store reaches, on the real servers: one object, one bucket, or the server."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.harness.live import WITHOUT_RECONCILE, Live, until
from tests.harness.picture_files import saved
from tests.harness.pictures import picture
from tests.harness.reading import read_topic
from tests.harness.stack.stack import Stack
from tests.integration.faults import as_text, downs, hint, installed
from tests.integration.hanging import hanging_for
from tests.integration.reader import Reader

pytestmark = pytest.mark.timeout(600)

OTHERS = 100
FORBIDDEN = "forbidden/a.png"
DAMAGED = "damaged.png"
HUNG = "hung.png"
SLACK_SECONDS = 10.0
"""What a hundred pictures may take longer the second time, on a machine that others use too."""


def states(live: Live) -> dict[str, tuple[str, str | None]]:
    """State and reason of each image by its key."""
    url = f"{live.application.api_url}/v1/images"
    results = httpx.get(url, params={"limit": 500}, timeout=30).json()["results"]
    return {image["key"]: (image["state"], image["reason"]) for image in results}


@contextmanager
def damage(stack: Stack, bucket: str, key: str) -> Iterator[None]:
    """Damage 4 KB in the middle of MinIO's own file of an object, until the block ends."""
    [file] = (stack._folder / "minio" / "data" / bucket / key).glob("*/part.1")
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes(4096) + whole[middle + 4096 :])
    yield
    file.write_bytes(whole)


def noise() -> bytes:
    """A PNG of some 270 kB."""
    side = 300
    return saved(Image.frombytes("RGB", (side, side), random.Random(1).randbytes(3 * side * side)), "PNG")


def indexed_after(live: Live, prefix: str, first: int) -> float:
    """Put a hundred pictures; the seconds until all of them are searchable."""
    began = time.monotonic()
    for number in range(OTHERS):
        live.put(f"{prefix}{number:03}.png", picture(first + number))

    def all_there() -> bool:
        found = [state for key, (state, _) in states(live).items() if key.startswith(prefix)]
        return found.count("indexed") == OTHERS

    until(all_there, f"{OTHERS} pictures are searchable")
    return time.monotonic() - began


def test_objects_that_cant_be_read_delay_nobody(private_stack: Stack, tmp_path: Path) -> None:
    """A damaged object and a forbidden one are recorded with the reason while their neighbours go on; once they can be
    read, the schedule finds them. Keys that MinIO refuses are nobody's dead letter.
    """
    more = WITHOUT_RECONCILE | {"TWINLENS_SWEEP__UNREADABLE_FIRST_WAIT_S": "5"}
    with installed(private_stack, tmp_path, more) as owner:
        reader = Reader(owner)
        live = owner.with_environment(reader.environment)
        live.start("ingest", "index", "api")
        usual = indexed_after(live, "a", 0)
        # Large enough for a file of its own: MinIO keeps smaller objects with their metadata.
        live.application.processes["ingest"].stop()
        owner.put(DAMAGED, noise())
        with damage(private_stack, owner.bucket, DAMAGED):
            owner.put(FORBIDDEN, picture(5000))
            hint(owner, ["a//b.png", " ", "../c.png"])
            live.start("ingest")
            assert indexed_after(live, "b", 1000) < usual + SLACK_SECONDS
            until(lambda: {DAMAGED, FORBIDDEN} <= states(live).keys(), "both are recorded")
            found = states(live)
            assert found[FORBIDDEN] == ("rejected", "unreadable: AccessDenied")
            state, reason = found[DAMAGED]
            assert state == "rejected"
            assert str(reason).startswith("unreadable: ")
        reader.allow()
        settled = live.settles()
        assert settled.total == 0, as_text(settled.as_json())
        assert states(live)[DAMAGED] == states(live)[FORBIDDEN] == ("indexed", None)


def test_an_object_that_hangs_delays_nobody(private_stack: Stack, tmp_path: Path) -> None:
    """While nothing comes of one object, a hundred put after it are searchable in their usual time; it is recorded, and
    indexed once it answers.
    """
    more = WITHOUT_RECONCILE | {"TWINLENS_SWEEP__UNREADABLE_FIRST_WAIT_S": "5", "TWINLENS_OBJECTS__TIMEOUT_S": "120"}
    with (
        installed(private_stack, tmp_path, more) as owner,
        hanging_for(f"/{owner.bucket}/{HUNG}", private_stack.addresses.s3) as way,
    ):
        live = owner.with_environment({"TWINLENS_OBJECTS__ENDPOINT": way.endpoint})
        live.start("ingest", "index", "api")
        usual = indexed_after(live, "a", 0)
        owner.put(HUNG, picture(5000))
        assert indexed_after(live, "b", 1000) < usual + SLACK_SECONDS
        assert way.hung.is_set(), "somebody asked for it"
        assert states(live)[HUNG] == ("rejected", "unreadable: Timeout")
        way.healed.set()
        settled = live.settles()
        assert settled.total == 0, as_text(settled.as_json())
        assert states(live)[HUNG] == ("indexed", None)
        assert "objects" not in downs(live, "ingest")


def test_a_bucket_that_is_gone_keeps_nobody_waiting(private_stack: Stack, tmp_path: Path) -> None:
    """The other bucket goes on; metrics and readiness name the one that is gone, and it is compared once it is back."""
    with installed(private_stack, tmp_path, WITHOUT_RECONCILE) as owner:
        away = f"{owner.bucket}-away"
        live = owner.with_environment({"TWINLENS_OBJECTS__BUCKETS": json.dumps([owner.bucket, away])})
        live.application.setup()
        live.start("ingest", "index", "api")
        theirs = Live(
            private_stack.addresses, {**live.environment, "TWINLENS_OBJECTS__BUCKETS": json.dumps([away])}, tmp_path
        )
        keys = [f"away{number}.png" for number in range(3)]
        for number, key in enumerate(keys):
            theirs.put(key, picture(number))
        until(lambda: sum(state == "indexed" for state, _ in states(live).values()) == len(keys), "all are searchable")
        volume, unmounted = private_stack._folder / "minio" / "data" / away, tmp_path / "unmounted"
        volume.rename(unmounted)
        hint(theirs, keys)
        live.put("here.png", picture(100))
        until(lambda: states(live).get("here.png", ("", None))[0] == "indexed", "the other bucket goes on")
        until(lambda: live.readiness("ingest")[1][f"bucket:{away}"] != "ok", "/readyz names the bucket")
        assert live.readiness("ingest")[1]["objects"] == "ok"
        until(lambda: live.metrics("ingest")[f'twinlens_bucket_up{{bucket="{away}"}}'] == 0, "a metric names it")
        assert downs(live, "ingest") == [f"bucket:{away}"]
        assert theirs.catalog_keys() == {*keys}
        _remove(unmounted / keys[0])
        unmounted.rename(volume)
        until(lambda: theirs.catalog_keys() == {*keys[1:]}, "the bucket is compared")


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()


def test_a_server_that_hangs_is_an_outage(private_stack: Stack, tmp_path: Path) -> None:
    """A MinIO that accepts and never answers is named within seconds, as nobody's fault but its own; its return brings
    a comparison.
    """
    with installed(private_stack, tmp_path) as live:
        live.start("ingest", "index")
        live.put("before.png", picture(1))
        assert live.settles().total == 0
        pid = private_stack.pids()["minio"]
        os.kill(pid, signal.SIGSTOP)
        try:
            hint(live, ["before.png"])
            until(lambda: "objects" in downs(live, "ingest"), "the hang is noticed", seconds=30)
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: _reconciled(live) == 1, "everything is compared")
        live.put("after.png", picture(2))
        settled = live.settles()
        assert settled.total == 0, as_text(settled.as_json())
        assert downs(live, "ingest") == ["objects"]
        assert asyncio.run(read_topic(live.place, "dead-letters")) == []


def _reconciled(live: Live) -> int:
    return sum(line.get("event") == "reconciled" for line in live.log_events("ingest"))
