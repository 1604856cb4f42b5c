"""What the servers have counted."""

from __future__ import annotations

from collections import Counter

from bench.counters import Counts, parse_s3_calls

METRICS = """\
# HELP minio_api_requests_total Total number of requests
# TYPE minio_api_requests_total counter
minio_api_requests_total{name="GetObject",server="127.0.0.1:9000",type="s3"} 10
minio_api_requests_total{name="HeadObject",server="127.0.0.1:9000",type="s3"} 1.5e+01
minio_api_requests_errors_total{name="HeadObject",server="127.0.0.1:9000",type="s3"} 3
"""


def test_calls_to_the_object_store_are_counted_by_name() -> None:
    """Errors and other metrics are no calls of their own."""
    assert parse_s3_calls(METRICS) == {"GetObject": 10, "HeadObject": 15}


def test_a_difference_leaves_out_what_did_not_happen() -> None:
    """Only what was counted in between is in the report."""
    before = Counts(Counter(select=5, insert=2), Counter(contents=1), Counter(GetObject=1))
    after = Counts(Counter(select=9, insert=2), Counter(contents=4), Counter(GetObject=1, HeadObject=2))
    between = Counts.between(before, after)
    assert between == Counts(Counter(select=4), Counter(contents=3), Counter(HeadObject=2))
