"""Every metric of the query service."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from schemas import tracing

SHARED_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's own: where it is set, the processes of one service keep their numbers in this folder."""

_FINE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """One registry per app, so that two apps in one process do not share numbers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "twinlens_api_requests_total", "Requests by route, method and status.", ("route", "method", "status"),
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "twinlens_api_request_seconds", "Seconds from the request's headers to the end of the answer.", ("route",),
            buckets=_FINE, registry=self.registry,
        )  # fmt: skip
        self.stages = Histogram(
            "twinlens_api_stage_seconds", "Seconds by stage: read, decode, embed, vectors, sql, "
            "thumbnail, features, match.", ("stage",),
            buckets=_FINE, registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge(
            "twinlens_api_in_flight", "Requests being answered.", registry=self.registry, multiprocess_mode="livesum"
        )
        self.shed = Counter(
            "twinlens_api_shed_total", "Requests refused to protect the service, by cause.", ("cause",),
            registry=self.registry,
        )  # fmt: skip
        self.disconnects = Counter(
            "twinlens_api_disconnects_total", "Clients that left before their answer.", registry=self.registry
        )
        self.embed_batch = Histogram(
            "twinlens_api_embed_batch_size", "Pictures embedded in one run.", buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )  # fmt: skip
        self.thumbnail_cache = Counter(
            "twinlens_api_thumbnail_cache_total", "Thumbnails asked for, by whether they were at hand.", ("result",),
            registry=self.registry,
        )  # fmt: skip
        self.features_cache = Counter(
            "twinlens_api_features_cache_total", "Local features of stored pictures that were needed, by whether they "
            "were at hand.", ("result",), registry=self.registry,
        )  # fmt: skip

    def exposition(self) -> bytes:
        """All numbers in Prometheus' text format: of this process, or of all processes of the service together."""
        registry = self.registry
        if SHARED_FOLDER_VARIABLE in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage of a request, also when it fails; it is a span of the request's trace."""
        begun = time.perf_counter()
        try:
            with tracing.span(name):
                yield
        finally:
            self.stages.labels(name).observe(time.perf_counter() - begun)
