"""Every metric of the workers, in one place. docs/operations.md describes each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram

from schemas import tracing

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
FRESHNESS_SECONDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200)

STAGE_SECONDS = Histogram(
    "twinlens_stage_seconds",
    "Time spent in one stage: download, decode, embed, sql, vector, verify or publish.",
    ["stage"],
    buckets=SECONDS,
)
EVENTS = Counter("twinlens_events_total", "Bucket events taken, by what became of them.", ["outcome"])
OBJECTS = Counter("twinlens_objects_total", "Looks at objects, by outcome.", ["outcome"])
CONTENTS = Counter("twinlens_contents_total", "Looks at contents, by outcome.", ["outcome"])
REJECTIONS = Counter("twinlens_rejections_total", "Pictures and objects that were rejected, by reason.", ["reason"])
IMAGES_PUBLISHED = Counter(
    "twinlens_images_published_total", "Snapshots sent to the change stream, by state.", ["state"]
)
TOMBSTONES = Counter("twinlens_tombstones_total", "Keys of removed images that were erased from the change stream.")
DEAD_LETTERS = Counter("twinlens_dead_letters_total", "Messages put aside as dead letters, by stage.", ["stage"])
REQUESTS = Counter("twinlens_requests_total", "Outcomes sent to external producers, by outcome.", ["outcome"])
REQUESTS_DROPPED = Counter(
    "twinlens_requests_dropped_total", "Concluded requests that were forgotten after requests.kept_days."
)
URL_FETCHES = Counter(
    "twinlens_url_fetches_total",
    "URLs that requests named: fetched, refused, no_answer, or skipped since their host is down.",
    ["outcome"],
)
RETRIES = Counter("twinlens_retries_total", "Calls made again after an outage, by dependency.", ["dependency"])
DEPENDENCY_UP = Gauge("twinlens_dependency_up", "1 while the dependency answers, 0 during an outage.", ["dependency"])
BUCKET_UP = Gauge("twinlens_bucket_up", "1 while the bucket answers, 0 while it is gone or denied.", ["bucket"])
RESENT = Counter("twinlens_resent_total", "What the sweep took up again, by kind.", ["kind"])
UNREADABLE_RETRIES = Counter(
    "twinlens_unreadable_retries_total", "Further looks that the sweep asked for at what could not be read."
)
SWEEP_FAILURES = Counter("twinlens_sweep_failures_total", "What the sweep could not send, by kind.", ["kind"])
DRIFT = Counter("twinlens_drift_total", "Differences that reconcile found, by kind.", ["kind"])
RECONCILES = Counter(
    "twinlens_reconciles_total", "Comparisons that the ingest worker made, by what asked for them.", ["reason"]
)
RECONCILE_REFUSED = Counter(
    "twinlens_reconcile_refused_total", "Removals that reconcile refused because they were too many."
)
RECONCILED_TIMESTAMP = Gauge(
    "twinlens_reconciled_timestamp_seconds",
    "When the ingest worker last finished a comparison of everything, in Unix time.",
)
PATROL_ROUNDS = Counter("twinlens_patrol_rounds_total", "Rounds that the patrol finished, by bucket.", ["bucket"])
PATROL_ROUND_SECONDS = Gauge(
    "twinlens_patrol_round_seconds", "How long the patrol's last round took, by bucket.", ["bucket"]
)
PATROLLED_TIMESTAMP = Gauge(
    "twinlens_patrolled_timestamp_seconds",
    "When the patrol last finished a round, by bucket, in Unix time.",
    ["bucket"],
)
PATROL_FOUND = Counter(
    "twinlens_patrol_found_total", "Differences that the patrol found, by bucket and kind.", ["bucket", "kind"]
)
PATROL_REFUSED = Gauge(
    "twinlens_patrol_refused", "1 while the patrol refuses to remove so many rows, by bucket.", ["bucket"]
)
NOTIFICATION_RULES = Counter(
    "twinlens_notification_rules_total",
    "Looks at a bucket's notification rule, by outcome: kept, put_back or failed.",
    ["bucket", "outcome"],
)
AUDITED = Counter(
    "twinlens_audited_total", "Indexed contents whose own vector was searched for: found or missing.", ["result"]
)
CONSUMER_LAG = Gauge("twinlens_consumer_lag", "Messages that wait, by topic and partition.", ["topic", "partition"])
OLDEST_PENDING_SECONDS = Gauge(
    "twinlens_oldest_pending_seconds", "Age of the oldest content that the index may not agree about yet."
)
SEARCHABLE_SECONDS = Histogram(
    "twinlens_event_to_searchable_seconds",
    "From the object store's announcement to the vector being stored and recorded.",
    buckets=FRESHNESS_SECONDS,
)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time a block as one observation of a stage, and as a span of the trace that it belongs to."""
    began = perf_counter()
    try:
        with tracing.span(name):
            yield
    finally:
        STAGE_SECONDS.labels(name).observe(perf_counter() - began)
