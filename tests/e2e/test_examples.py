"""The examples of docs/topics.md and the commands `watch` and `publish`, against a live installation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.copies import TRANSFORMS
from schemas.settings import KafkaSettings
from stores.broker.topics import ensure_topics
from tests.harness.command_line import twinlens
from tests.harness.live import Live, until
from tests.harness.pictures import picture
from tests.harness.producers import last_snapshots, outcomes
from tests.harness.stack.cleanup import in_own_loop
from tests.harness.stack.install import java_program, kafka_libs
from tests.harness.stack.process import free_port

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TWINLENS = str(Path(sys.executable).with_name("twinlens"))
NOT_ALL, ERROR = 1, 2


def run(
    live: Live, *command: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A program, run to its end, in the environment of the installation."""
    return subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **live.environment, "COLUMNS": "300", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def command(
    live: Live, *words: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`twinlens` with these words, likewise. Forked, it names itself in hints as its module, not as the program."""
    return twinlens(*words, environment={**live.environment, "COLUMNS": "300", **(environment or {})})


@contextmanager
def running(live: Live, *command: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A program that goes on until it is ended."""
    with subprocess.Popen(
        [str(word) for word in command],
        env={**os.environ, **live.environment, "COLUMNS": "300"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def line_that(process: subprocess.Popen[str], fits: Callable[[str], bool]) -> str:
    """The first line of the program's output that fits; pytest's own time limit is the deadline."""
    assert process.stdout is not None
    for line in process.stdout:
        if fits(line):
            return line.rstrip("\n")
    assert process.stderr is not None
    raise AssertionError(f"it ended without such a line: {process.stderr.read()}")


@pytest.fixture(scope="module")
def copied(live: Live, gallery: list[Path]) -> str:
    """The key of a picture of which there is a mirrored copy, `<key>-copy`, both indexed."""
    original, key = gallery[-1].read_bytes(), "examples/original.jpg"
    live.put(key, original)
    until(lambda: _state(live, key) == "indexed", "the original is indexed")
    live.put(f"{key}-copy", TRANSFORMS["mirrored"](original))
    until(lambda: _state(live, f"{key}-copy") == "indexed", "the copy is indexed")
    return key


def _state(live: Live, key: str) -> str | None:
    snapshot = last_snapshots(live.place).get(key)
    return snapshot["state"] if snapshot else None


def test_the_producer_in_plain_aiokafka_stores_a_picture(live: Live, tmp_path: Path) -> None:
    """It prints the outcome, and the object carries its metadata."""
    file = tmp_path / "cat.png"
    file.write_bytes(picture(40_000))
    done = run(live, sys.executable, EXAMPLES / "produce.py", live.place.kafka, file, "examples/cat.png")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["outcome"], outcome["key"]) == ("stored", "examples/cat.png")
    stored = live.s3.stat_object(live.bucket, "examples/cat.png")
    assert stored.metadata is not None
    assert stored.metadata["x-amz-meta-source"] == "produce.py"


def test_the_consumer_prints_copies(live: Live, copied: str) -> None:
    """A line for each change that is a copy of a known picture."""
    with running(live, sys.executable, EXAMPLES / "copies.py", live.place.kafka) as process:
        line = line_that(process, lambda line: f"{copied}-copy" in line)
    assert line.startswith(f"copy found: {copied}-copy is a copy of ")


def test_kafkas_own_console_producer_asks_for_a_look(live: Live) -> None:
    """A shell script is a producer too."""
    producer = {
        "CONSOLE_PRODUCER": f"{java_program()} org.apache.kafka.tools.ConsoleProducer",
        "CLASSPATH": f"{kafka_libs()}/*",
    }
    done = run(live, EXAMPLES / "console-producer.sh", live.place.kafka, "examples/ö.png", environment=producer)
    assert done.returncode == 0, done.stderr
    request_id = done.stdout.strip().splitlines()[-1]
    until(lambda: request_id in outcomes(live.place), "the look has its outcome")
    [outcome] = outcomes(live.place)[request_id]
    assert (json.loads(outcome)["outcome"], json.loads(outcome)["key"]) == ("looked", "examples/ö.png")


def test_watch_prints_what_happens_from_now_on(live: Live) -> None:
    """It says when it is ready, and what comes after that is there."""
    with running(live, TWINLENS, "watch") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "watching" in line:
                break
        live.put("examples/now.png", picture(40_001))
        line = line_that(process, lambda line: "indexed" in line and "examples/now.png" in line)
    assert f"{live.bucket}/examples/now.png" in line
    live.delete("examples/now.png")


def test_watch_prints_copies_as_json(live: Live, copied: str) -> None:
    """One JSON object per line, nothing but copies, from the start if that is wanted."""
    seen: list[str] = []
    with running(live, TWINLENS, "watch", "--copies", "--json", "--from-start") as process:

        def is_the_copy(line: str) -> bool:
            seen.append(line)
            return bool(json.loads(line)["key"] == f"{copied}-copy")

        line_that(process, is_the_copy)
    for line in seen:
        assert {"copy", "exact"} & {near["verdict"] for near in json.loads(line)["nearest"]}


def test_watch_names_the_original_of_a_copy(live: Live, copied: str) -> None:
    """In words, on one line."""
    with running(live, TWINLENS, "watch", "--copies", "--from-start") as process:
        line = line_that(process, lambda line: f"{copied}-copy" in line)
    assert "copy of" in line


def test_publish_stores_files(live: Live, tmp_path: Path) -> None:
    """Folders too, under a prefix; all that is for people goes to standard error."""
    (tmp_path / "sub").mkdir()
    files = {"a.png": picture(40_010), "sub/b.png": picture(40_011), "sub/ü c.png": picture(40_012)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    done = command(live, "publish", tmp_path, "--prefix", "published/")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "3/3" in done.stderr
    assert "3 stored, 0 not" in done.stderr
    listed = {item.object_name for item in live.s3.list_objects(live.bucket, prefix="published/", recursive=True)}
    assert listed == {f"published/{name}" for name in files}


def test_publish_tells_what_was_refused(live: Live, tmp_path: Path) -> None:
    """The others are stored, and the exit code says that not all were."""
    (tmp_path / "good.png").write_bytes(picture(40_020))
    (tmp_path / "empty.png").write_bytes(b"")
    done = command(live, "publish", tmp_path, "--prefix", "partly/")
    assert done.returncode == NOT_ALL
    assert "empty.png: refused: the picture has no bytes" in done.stderr
    assert "1 stored, 1 not" in done.stderr


def test_publish_sends_nothing_if_a_file_is_too_big(live: Live, tmp_path: Path) -> None:
    """It is said before anything is sent, with the other way to do it."""
    (tmp_path / "good.png").write_bytes(picture(40_030))
    with (tmp_path / "huge.png").open("wb") as huge:
        huge.truncate(17 * 1024 * 1024)
    done = run(live, TWINLENS, "publish", tmp_path, "--prefix", "toobig/")
    assert done.returncode == ERROR
    assert "huge.png has 17,825,792 bytes, and a message holds 16,777,216" in done.stderr
    assert "twinlens add" in done.stderr
    assert not list(live.s3.list_objects(live.bucket, prefix="toobig/"))


@pytest.mark.parametrize("name", ["publish", "watch"])
def test_no_broker_is_told_soon(live: Live, tmp_path: Path, name: str) -> None:
    """With its address, instead of waiting for ever."""
    file = tmp_path / "a.png"
    file.write_bytes(picture(40_040))
    nowhere = {"TWINLENS_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
    began = time.monotonic()
    done = command(live, name, *([file] if name == "publish" else []), environment=nowhere)
    assert done.returncode == ERROR, done.stderr
    assert f"nothing is at {nowhere['TWINLENS_KAFKA__BOOTSTRAP_SERVERS']}" in done.stderr
    assert time.monotonic() - began < 60


def test_publish_says_when_nobody_answers(live: Live, topic_prefix: str, tmp_path: Path) -> None:
    """Topics without a worker: what was sent stays, and the command does not wait for ever."""
    file = tmp_path / "a.png"
    file.write_bytes(picture(40_050))
    kafka = KafkaSettings(bootstrap_servers=live.place.kafka, topic_prefix=topic_prefix, partitions=2)
    environment = {"TWINLENS_KAFKA__TOPIC_PREFIX": topic_prefix}
    missing = run(live, TWINLENS, "publish", file, environment=environment)
    assert missing.returncode == ERROR, missing.stderr
    assert "twinlens setup`" in missing.stderr
    in_own_loop(ensure_topics(kafka))
    unanswered = command(live, "publish", file, "--timeout", "2", environment=environment)
    assert unanswered.returncode == ERROR, unanswered.stderr
    assert "1 of 1 requests have had no outcome for 2 s" in unanswered.stderr
