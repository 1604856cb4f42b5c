"""Reconcile on the real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from minio.notificationconfig import NotificationConfig

from tests.harness.command_line import twinlens
from tests.harness.live import QUICK, Live, until
from tests.harness.pictures import picture
from tests.harness.stack.stack import Addresses


@pytest.fixture
def live(all_servers: Addresses, twinlens_env: dict[str, str], tmp_path: Path) -> Iterator[Live]:
    """An installation of this test's own, set up but not started."""
    live = Live(all_servers, {**twinlens_env, **QUICK, "TWINLENS_AUDIT__RATE": "200"}, tmp_path)
    live.application.setup()
    yield live
    live.stop()


def reconcile(live: Live, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command; its exit code and the report of the one bucket."""
    done = twinlens("reconcile", "--json", *arguments, environment=live.environment)
    assert done.returncode in (0, 3), done.stderr
    [report] = json.loads(done.stdout)
    return done.returncode, report


def test_heals_what_lost_events_left_behind(live: Live) -> None:
    """After changes that nobody announced, one run of the command makes all three stores agree."""
    for number in range(40):
        live.put(f"folder {number % 3}/ü{number:03}.png", picture(number))
    live.put("broken.png", b"no picture")
    live.start("ingest", "index")
    assert live.settles(broken=[b"no picture"]).total == 0
    until(lambda: live.metrics("ingest")["twinlens_reconciled_timestamp_seconds"] > 0, "the worker's own first run")
    live.s3.set_bucket_notification(live.bucket, NotificationConfig())
    live.put("folder 0/ü000.png", picture(1000))
    live.put("new.png", picture(1001))
    live.delete("folder 1/ü001.png")
    _, dry = reconcile(live, "--dry-run")
    found = {kind: count for kind, count in dry["drift"].items() if count}
    assert found == {"missing": 1, "stale": 1, "orphan_row": 1}
    assert live.differences(broken=[b"no picture"]).total > 0
    code, report = reconcile(live)
    assert (code, report["differences"], report["hints"]) == (0, 3, 3)
    settled = live.settles(broken=[b"no picture"])
    assert settled.total == 0, settled.as_json()
    assert reconcile(live, "--dry-run")[1]["differences"] == 0
    assert missing_metrics(live) == []


SET_BY_INGEST = (
    'twinlens_events_total{outcome="taken"}',
    'twinlens_objects_total{outcome="stored"}',
    'twinlens_objects_total{outcome="removed"}',
    'twinlens_stage_seconds_count{stage="download"}',
    'twinlens_stage_seconds_count{stage="sql"}',
    'twinlens_images_published_total{state="removed"}',
    'twinlens_dependency_up{dependency="broker"}',
    'twinlens_dependency_up{dependency="catalog"}',
    'twinlens_dependency_up{dependency="objects"}',
    'twinlens_reconciles_total{reason="first_start"}',
    "twinlens_reconciled_timestamp_seconds",
    'twinlens_audited_total{result="found"}',
)
SET_BY_INDEX = (
    *(f'twinlens_stage_seconds_count{{stage="{stage}"}}' for stage in ("download", "decode", "embed", "vector")),
    'twinlens_stage_seconds_count{stage="sql"}',
    'twinlens_stage_seconds_count{stage="publish"}',
    'twinlens_contents_total{outcome="indexed"}',
    'twinlens_contents_total{outcome="rejected"}',
    'twinlens_contents_total{outcome="removed"}',
    'twinlens_rejections_total{reason="not_an_image"}',
    'twinlens_images_published_total{state="indexed"}',
    'twinlens_dependency_up{dependency="vectors"}',
    "twinlens_event_to_searchable_seconds_count",
)


def missing_metrics(live: Live) -> list[str]:
    """The metrics that this much work should have moved, and that are not there or zero; the lag need only be there."""
    ingest, index = live.metrics("ingest"), live.metrics("index")
    missing = [name for name in SET_BY_INGEST if not ingest.get(name)]
    missing += [name for name in SET_BY_INDEX if not index.get(name)]
    for topic, samples in (("bucket-events", ingest), ("contents", index)):
        if not any(name.startswith("twinlens_consumer_lag{") and topic in name for name in samples):
            missing.append(f"lag of {topic}")
    if "twinlens_oldest_pending_seconds" not in ingest:
        missing.append("twinlens_oldest_pending_seconds")
    return missing


def test_the_first_start_fills_the_catalog(live: Live) -> None:
    """A bucket that was full before is read by the worker itself, without a command."""
    live.s3.set_bucket_notification(live.bucket, NotificationConfig())
    for number in range(10):
        live.put(f"{number}.png", picture(number))
    live.start("ingest", "index")
    settled = live.settles()
    assert settled.total == 0, settled.as_json()
    assert settled.compared["objects"] == 10
