"""The patrol on the real servers, with reconcile off: what is healed here, it has healed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from minio.notificationconfig import NotificationConfig, QueueConfig, SuffixFilterRule

from tests.harness.command_line import twinlens
from tests.harness.live import QUICK, Live, until
from tests.harness.pictures import picture
from tests.harness.reading import read_bucket, read_catalog, read_topic, read_vector_ids
from tests.harness.stack.stack import Addresses

ALONE: Mapping[str, str] = {
    **QUICK,
    "TWINLENS_PATROL__RATE": "500",
    "TWINLENS_RECONCILE__AFTER_OUTAGE": "false",
    "TWINLENS_RECONCILE__EVERY_HOURS": "0",
}
OURS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


@contextmanager
def running(
    addresses: Addresses, environment: Mapping[str, str], more: Mapping[str, str], logs: Path
) -> Iterator[Live]:
    """An installation with three pictures, after its first comparison of everything."""
    live = Live(addresses, {**environment, **ALONE, **more}, logs)
    live.application.setup()
    for number in range(3):
        live.put(f"{number}.png", picture(number))
    try:
        live.start("ingest", "index")
        until(lambda: live.metrics("ingest")["twinlens_reconciled_timestamp_seconds"] > 0, "the first comparison")
        yield live
    finally:
        live.stop()


def rules(live: Live) -> list[tuple[str, list[str], bool]]:
    """The bucket's rules: target, kinds of events, and whether they are for all keys."""
    found = live.s3.get_bucket_notification(live.bucket).queue_config_list or []
    return sorted((rule.queue or "", sorted(rule.events), rule.suffix_filter_rule is None) for rule in found)


def put_back(live: Live) -> float:
    """How often a rule had to be put back."""
    name = f'twinlens_notification_rules_total{{bucket="{live.bucket}",outcome="put_back"}}'
    return live.metrics("ingest").get(name, 0)


def test_without_notifications_changes_are_found(
    all_servers: Addresses, twinlens_env: dict[str, str], tmp_path: Path
) -> None:
    """With `objects.notifications: none` no rule is made, and what is put, overwritten and deleted is found.

    Folders and what `objects.exclude` names are not.
    """
    with running(all_servers, twinlens_env, {"TWINLENS_OBJECTS__NOTIFICATIONS": "none"}, tmp_path) as live:
        assert live.settles().total == 0
        live.put("new.png", picture(100))
        live.put("0.png", picture(101))
        live.delete("1.png")
        settled = live.settles(gone=[picture(1)])
        assert settled.total == 0, settled.as_json()
        known = live.catalog_keys()
        for key, data in (("folder/", b""), ("folder/._1.png", picture(102)), ("folder/last.png", picture(103))):
            live.put(key, data)
        until(lambda: live.catalog_keys() == {*known, "folder/last.png"}, "the picture beside what is left out")
        assert rules(live) == []
        assert put_back(live) == 0


def test_a_rule_is_put_back_and_a_bucket_made_anew_is_healed(
    all_servers: Addresses, twinlens_env: dict[str, str], tmp_path: Path
) -> None:
    """A rule that is gone, narrowed, or lost with its bucket comes back, and what happened meanwhile is found.

    In the end `twinlens forget-bucket` leaves nothing of it but the objects.
    """
    with running(all_servers, twinlens_env, {}, tmp_path) as live:
        until(lambda: bool(rules(live)), "the rule of `twinlens setup`")
        whole = rules(live)
        assert {tuple(events) for _, events, _ in whole} == {tuple(OURS)}

        live.s3.set_bucket_notification(live.bucket, NotificationConfig())
        live.put("while there was no rule.png", picture(100))
        until(lambda: rules(live) == whole, "the rule that was gone")
        assert put_back(live) == 1

        narrow = QueueConfig(queue=whole[0][0], events=OURS, suffix_filter_rule=SuffixFilterRule(".gif"))
        live.s3.set_bucket_notification(live.bucket, NotificationConfig(queue_config_list=[narrow]))
        until(lambda: rules(live) == whole, "the rule that was narrowed")
        assert live.settles().total == 0

        for key in live.catalog_keys():
            live.delete(key)
        live.s3.remove_bucket(live.bucket)
        live.s3.make_bucket(live.bucket)
        live.put("in the new bucket.png", picture(200))
        until(lambda: rules(live) == whole, "the new bucket's rule")
        settled = live.settles()
        assert settled.total == 0, settled.as_json()
        assert live.catalog_keys() == {"in the new bucket.png"}
    forget(live)


def forget(live: Live) -> None:
    """Run `twinlens forget-bucket` on the stopped installation: nothing is left of the bucket but its objects."""
    without = {"TWINLENS_OBJECTS__BUCKETS": '["another"]'}
    done = twinlens("forget-bucket", live.bucket, environment={**live.environment, **without})
    assert done.returncode == 0, done.stderr
    assert "1 images, 1 contents" in done.stdout
    rows = asyncio.run(read_catalog(live.place))
    assert (rows.images, rows.states, rows.unfinished) == ({}, {}, [])
    assert read_vector_ids(live.place) == set()
    last = dict(asyncio.run(read_topic(live.place, "image-changes")))
    assert last[f"{live.bucket}/in the new bucket.png".encode()] is None
    assert set(read_bucket(live.place)) == {"in the new bucket.png"}
