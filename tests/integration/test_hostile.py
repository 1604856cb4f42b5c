"""What nobody should send, sent to running workers: every object is decided on, nothing dies, memory stays bounded."""

from __future__ import annotations

import asyncio
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from PIL import Image

from tests.harness.live import QUICK, Live, until
from tests.harness.picture_files import ORIENTATION, photo, png, png_chunk, saved
from tests.harness.pictures import picture
from tests.harness.producers import raw, send, wait_for_outcomes
from tests.harness.reading import read_topic
from tests.harness.stack.stack import Addresses

MEGABYTE = 1024 * 1024
DEFAULTS = {"TWINLENS_MODEL__SPEC": "sscd", "TWINLENS_KAFKA__PARTITIONS": "8"}
BOUNDS = {"ingest": 512 * MEGABYTE, "requests": 1024 * MEGABYTE, "index": 2048 * MEGABYTE}
"""As docs/operations.md states them for the default settings."""
LARGE_REQUESTS = 60
LARGE = 12 * MEGABYTE


@pytest.fixture
def live(all_servers: Addresses, twinlens_env: dict[str, str], tmp_path: Path) -> Iterator[Live]:
    """An installation of this test's own with the default model and limits, running."""
    live = Live(all_servers, {**twinlens_env, **QUICK, **DEFAULTS}, tmp_path, forked=False)
    live.application.start()
    yield live
    live.stop()


def bomb(side: int, *, colour: int) -> bytes:
    """A PNG of ``side`` × ``side`` black pixels, whole and small."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    packer = zlib.compressobj(9)
    row = bytes(side * channels + 1)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def header_bomb() -> bytes:
    """A PNG that says it has 60,000 × 60,000 pixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")


def archive() -> bytes:
    """A ZIP file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.jpg", b"x" * 1000)
    return out.getvalue()


def animation() -> bytes:
    """A GIF with a hundred frames."""
    return saved(photo(), "GIF", save_all=True, append_images=[photo(seed=n) for n in range(100)])


def absurd_exif() -> bytes:
    """A JPEG that is turned in a way that does not exist, with sixty thousand bytes of nothing about it."""
    exif = Image.Exif()
    exif[ORIENTATION] = 60_000
    exif[0x010E] = "x" * 60_000
    return saved(photo(), "JPEG", exif=exif)


def zoo() -> dict[str, tuple[bytes, str | None]]:
    """Objects by key, each with the reason that it is rejected for; None is for those that are indexed."""
    whole = saved(photo(800, 600), "JPEG")
    noise = random.Random(1).randbytes
    bombs = {f"bomb-{n}.png": (bomb(9_000 + n, colour=6), None) for n in range(3)}
    return bombs | {
        "header-bomb.png": (header_bomb(), "too_many_pixels"),
        "long.png": (png(65_535, 1, bytes(65_535 * 3 + 1)), None),
        "longer.png": (png(500_001, 1, bytes(500_001 * 3 + 1)), "too_many_pixels"),
        "dot.png": (png(1, 1, bytes(4)), None),
        "animation.gif": (animation(), None),
        "absurd-exif.jpg": (absurd_exif(), None),
        "partial.jpg": (whole[: len(whole) * 3 // 4], None),
        "truncated.jpg": (whole[: len(whole) // 3], "truncated"),
        "empty.jpg": (b"", "empty"),
        "gigantic.jpg": (whole + bytes(26 * MEGABYTE), "too_many_bytes"),
        "noise.jpg": (noise(20 * MEGABYTE), "not_an_image"),
        "noise.png": (b"\x89PNG\r\n\x1a\n" + noise(20 * MEGABYTE), "truncated"),
        "drawing.jpg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
        "paper.jpg": (b"%PDF-1.7\n" + noise(1000), "unsupported_format"),
        "page.jpg": (b"<!DOCTYPE html><script>alert(1)</script>", "not_an_image"),
        "archive.jpg": (archive(), "not_an_image"),
        "program.jpg": (b"\x7fELF" + noise(1000), "not_an_image"),
    }


def test_a_zoo_of_hostile_files_is_decided_on_within_bounded_memory(live: Live) -> None:
    """Each file is indexed or rejected with its reason, and the workers are the same processes, of a stated size."""
    pids = {role: live.application.processes[role].pid for role in BOUNDS}
    animals = zoo()
    for key, (data, _) in animals.items():
        live.put(key, data)
    live.put("honest.png", picture(1))
    expected = {key: ("rejected" if reason else "indexed", reason) for key, (_, reason) in animals.items()}
    expected["honest.png"] = ("indexed", None)
    until(lambda: _decisions(live).keys() == expected.keys(), "everything is decided on")
    assert _decisions(live) == expected
    assert pids == {role: live.application.processes[role].pid for role in BOUNDS}
    _assert_bounded(live)


def _assert_bounded(live: Live) -> None:
    peaks = {role: live.application.processes[role].memory("VmHWM") for role in BOUNDS}
    print({role: f"{peak / MEGABYTE:.0f} MiB" for role, peak in peaks.items()})
    assert {role: peak for role, peak in peaks.items() if peak > BOUNDS[role]} == {}


def _decisions(live: Live) -> dict[str, tuple[str, str | None]]:
    answer = httpx.get(f"{live.application.api_url}/v1/images", params={"limit": 500}, timeout=30).json()
    return {image["key"]: (image["state"], _slug(image)) for image in answer["results"] if image["state"] != "pending"}


def _slug(image: dict[str, Any]) -> str | None:
    return str(image["reason"]).partition(":")[0] if image["reason"] else None


def test_a_flood_of_large_and_senseless_messages_stays_within_bounded_memory(live: Live) -> None:
    """Requests near the limit wait in the broker, not in the worker; what makes no sense is put aside."""
    worker = live.application.processes["requests"]
    worker.stop()
    rng = random.Random(2)
    requests = [raw(f"large-{n}", f"large/{n}.bin", rng.randbytes(LARGE)) for n in range(LARGE_REQUESTS)]
    send(live.place, requests)
    senseless = _send_senseless(live)
    worker.start()
    pid = worker.pid
    wait_for_outcomes(live.place, {f"large-{n}" for n in range(LARGE_REQUESTS)})
    until(lambda: len(_letters(live)) >= senseless, "what makes no sense is put aside")
    assert worker.pid == pid
    _assert_bounded(live)


def _letters(live: Live) -> list[tuple[bytes | None, bytes | None]]:
    return asyncio.run(read_topic(live.place, "dead-letters"))


def _send_senseless(live: Live) -> int:
    """Messages that nobody can understand, to every topic that a worker reads; how many."""
    deep = b'{"Records": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    wide = b'{"Records": [' + b"{}," * 80_000 + b"{}]}"
    values = [
        None,
        b"",
        b"\xff\xfe",
        deep,
        wide,
        b'{"schema": 2}',
        b'{"Records": [{"s3": {"object": {"key": "%FF"}}}]}',
    ]
    topics = ("bucket-events", "contents", "image-requests")

    async def produce() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=live.place.kafka)
        await producer.start()
        try:
            for topic in topics:
                for value in values:
                    await producer.send_and_wait(live.place.topic_prefix + topic, value, key=b"\xff senseless")
        finally:
            await producer.stop()

    asyncio.run(produce())
    return len(topics) * len(values)
