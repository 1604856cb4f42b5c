"""Every setting: its type, its default and what it means. The environment overrides the file, the file the defaults.

``make settings`` (``schemas/settings_reference.py``) writes what says this again from here: config.yaml, the tables of
docs/configuration.md, and the names of settings in the compose file and in the Helm chart.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

import yaml
from pathspec import PathSpec
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from schemas.collection import ViewLayout
from schemas.errors import ConfigurationError
from schemas.exit_codes import ExitCode
from schemas.records import SHA256_PATTERN
from schemas.topics import (
    DEAD_LETTERS_KEPT,
    DEFAULT_PREFIX,
    SMALL_MESSAGE_BYTES,
    Topics,
    TopicSpec,
    topic_specs,
)

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML was built without libyaml.
    from yaml import SafeLoader  # type: ignore[assignment]

PREFIX = "TWINLENS_"
CONFIG_FILE_VARIABLE = "TWINLENS_CONFIG"
_SERVICE_LINK = re.compile(r"(tcp|udp)://")
"""What Kubernetes sets ``TWINLENS_API_PORT`` to where a service is called ``twinlens-api``."""
DEFAULT_SECRETS = frozenset({"minioadmin", "minio123", "root", "password", "changeme", "admin", "Milvus"})
"""Secrets that everybody knows; refused in production."""

SEGMENT_DAYS = 7
"""Kafka deletes whole segments, and by default begins a new one after a week: so much longer a message may stay."""

Positive = Annotated[int, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(ge=0)]
SomeSeconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of the settings, whose docstring config.yaml has above it; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Section):
    """The brokers, the topics and how to log in."""

    bootstrap_servers: Text = Field("127.0.0.1:9092", description="Comma-separated `host:port` list.")
    topic_prefix: str = Field(
        DEFAULT_PREFIX,
        description=(
            "Topics are named `<prefix>bucket-events` and so on; the consumer groups carry it too. Two installations "
            "on one cluster need two prefixes."
        ),
    )
    partitions: Positive = Field(
        8,
        description=(
            "Partitions of the topics that `twinlens setup` creates; so many workers of a kind can share the work."
        ),
    )
    replication_factor: Positive = Field(1, description="Replicas of these topics.")
    retention_days: Positive = Field(
        7,
        description=(
            f"Days that events, requests, outcomes and content messages are kept; dead letters {DEAD_LETTERS_KEPT} "
            "times as long."
        ),
    )
    max_message_bytes: Positive = Field(
        16 * 1024 * 1024,
        description=(
            "The largest message that the topics and every client accept; topics that carry no pictures accept "
            f"{SMALL_MESSAGE_BYTES // 1024} KiB."
        ),
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How the brokers are talked to."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="How workers log in, with SASL only."
    )
    sasl_username: str | None = Field(None, description="Who logs in; needed with SASL.")
    sasl_password: SecretStr | None = Field(None, description="The password; needed with SASL.")
    ssl_ca_file: Path | None = Field(
        None, description="The CA to trust, as a PEM file. With SSL only, as the next two."
    )
    ssl_cert_file: Path | None = Field(None, description="This client's certificate, as a PEM file.")
    ssl_key_file: Path | None = Field(None, description="This client's key, as a PEM file.")
    session_timeout_s: Annotated[float, Field(ge=6)] = Field(
        20, description="Seconds after which the broker gives a silent worker's partitions to another one."
    )
    watch_made_anew: bool = Field(
        True,
        description=(
            "Whether to notice topics that were deleted and made anew; off for brokers that tell wrong ends of their "
            "logs, as that of the embedded stack does."
        ),
    )

    @property
    def topics(self) -> Topics:
        """The names of the topics under the prefix."""
        return Topics(self.topic_prefix)

    def group(self, role: str) -> str:
        """The consumer group of a worker's role."""
        return f"{self.topic_prefix}{role}"

    @property
    def topic_specs(self) -> list[TopicSpec]:
        """The topics that there must be, and how each is kept."""
        return topic_specs(self.topics, retention_days=self.retention_days, max_message_bytes=self.max_message_bytes)

    @model_validator(mode="after")
    def _credentials_for_sasl(self) -> KafkaSettings:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError(f"{self.security_protocol} needs sasl_username and sasl_password")
        return self


class ObjectSettings(Section):
    """The object store and the buckets that are indexed."""

    backend: Literal["s3", "folder"] = Field(
        "s3", description="`s3` (MinIO or another S3 server) or `folder` (the embedded stack without a MinIO program)."
    )
    endpoint: Text = Field("127.0.0.1:9000", description="`host:port` of the S3 server.")
    secure: bool = Field(False, description="Whether the endpoint speaks TLS.")
    region: str = Field("us-east-1", description="The S3 region.")
    access_key: str = Field("minioadmin", description="The S3 access key.")
    secret_key: SecretStr = Field(SecretStr("minioadmin"), description="Its secret.")
    buckets: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        ("pictures",),
        description=(
            "The buckets that are indexed; the first is the default one. The folder store has a subfolder for each. "
            "[operations.md](operations.md#buckets-that-come-and-go-twinlens-forget-bucket) says what happens when "
            "one comes or goes."
        ),
    )
    exclude: tuple[str, ...] = Field(
        (
            "**/@eaDir/**",
            "**/._*",
            "**/.DS_Store",
            "**/Thumbs.db",
            "**/desktop.ini",
            "**/.thumbnails/**",
        ),
        description=(
            "Objects that are left out: globs of keys, [as in "
            ".gitignore](https://git-scm.com/docs/gitignore#_pattern_format). A change takes effect by the "
            "[patrol](operations.md#the-patrol): what is left out now goes, what no longer is comes. Folders (keys "
            "that end in `/`, without a byte) are always left out."
        ),
    )
    folder: Path = Field(Path("buckets"), description="The root of the folder store.")
    notifications: Literal["kafka", "none"] = Field(
        "kafka",
        description=(
            "`kafka`: the S3 server announces changes to the targets below, and the buckets' rules are [kept as they "
            "should be](operations.md#the-patrol). `none`: no rule is set, and the patrol finds what changes; for "
            "any S3 server."
        ),
    )
    notification_arns: tuple[str, ...] = Field(
        ("arn:minio:sqs::PRIMARY:kafka",),
        description=(
            "The notification targets of the server that `twinlens setup` points the buckets at; empty: none. Two "
            "are best: one with a queue folder keeps events while Kafka is away, and one without it announces at "
            "once, see [architecture.md](architecture.md#decisions-that-are-not-obvious)."
        ),
    )
    timeout_s: Seconds = Field(10, description="Seconds for one connection, listing or write.")
    stall_s: Seconds = Field(
        3,
        description=(
            "Seconds without a byte of an object, after which a worker puts it aside as unreadable and tries it "
            "again later: for so long others wait for it. More where the server itself may take longer, for files on "
            "tape or on disks that sleep."
        ),
    )

    @field_validator("exclude")
    @classmethod
    def _globs(cls, globs: tuple[str, ...]) -> tuple[str, ...]:
        for glob in globs:
            try:
                PathSpec.from_lines("gitignore", [glob])
            except (ValueError, re.error) as error:
                raise ValueError(f"{glob!r} is no glob: {error}") from error
        return globs

    @property
    def default_bucket(self) -> str:
        """Where pictures go that name no bucket."""
        return self.buckets[0]


class DatabaseSettings(Section):
    """The catalog, in SQL."""

    url: SecretStr = Field(
        SecretStr("sqlite+aiosqlite:///twinlens.db"),
        description="`mysql+asyncmy://user:password@host:3306/twinlens` or `sqlite+aiosqlite:///path/to/file.db`.",
    )
    pool_size: Positive = Field(
        10, description="Connections kept open; as many again may be opened for a while. MySQL only."
    )
    timeout_s: SomeSeconds = Field(
        30, description="Seconds for one statement; for half as long it waits for a lock. MySQL only."
    )


VectorIndexType = Literal["FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8", "SCANN", "DISKANN"]


class VectorSettings(Section):
    """The vector index, Milvus."""

    uri: Text = Field("http://127.0.0.1:19530", description="Milvus or the Milvus Lite server.")
    token: SecretStr = Field(SecretStr(""), description="`user:password` or an API key; empty for none.")
    alias: str = Field("twinlens", description="Names the live collection, which is `<alias>_<model id>`.")
    index: VectorIndexType = Field(
        "HNSW",
        description=(
            "The type of the index; [scaling.md](scaling.md#which-index) says which one for how many pictures. A "
            "change of it, or of what it is built with, takes effect [by `twinlens "
            "rebuild-index`](configuration.md#changing-the-index)."
        ),
    )
    hnsw_m: Annotated[int, Field(ge=4, le=64)] = Field(16, description="HNSW is built with: links per vector.")
    hnsw_ef_construction: Annotated[int, Field(ge=8, le=512)] = Field(
        200, description="HNSW is built with: candidates for these links."
    )
    ivf_nlist: Annotated[int, Field(ge=1, le=65_536)] = Field(
        512, description="IVF_FLAT, IVF_SQ8 and SCANN are built with: clusters in each segment."
    )
    ivf_nprobe: Annotated[int, Field(ge=1, le=65_536)] = Field(
        64,
        description=(
            "IVF_FLAT, IVF_SQ8 and SCANN: clusters of each segment that a search looks into; at most "
            "`vectors.ivf_nlist`."
        ),
    )
    search_ef: Positive = Field(
        128,
        description=(
            "Candidates of a search in HNSW and DISKANN, and those that SCANN compares exactly; at least as many as "
            "hits are asked for are used."
        ),
    )
    timeout_s: Seconds = Field(30, description="Seconds for one call.")

    @model_validator(mode="after")
    def _clusters_to_probe(self) -> VectorSettings:
        if self.ivf_nprobe > self.ivf_nlist:
            raise ValueError(
                f"ivf_nprobe is {self.ivf_nprobe}, but there are only ivf_nlist = {self.ivf_nlist} clusters"
            )
        return self


class ModelSettings(Section):
    """The embedding model."""

    spec: str = Field(
        "sscd",
        description=(
            "A model spec that comes with Twinlens (`sscd`, `sscd_distilled`) or the path of a spec file, see "
            "[models.md](models.md)."
        ),
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0,
        description=(
            "Threads that one inference uses on the CPU; 0: one for each core that the process may use (a "
            "container's limit counts)."
        ),
    )
    providers: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("cpu",),
        description=(
            "[ONNX Runtime's execution providers](models.md#a-gpu-or-another-provider), in order of preference: "
            "`cpu`, `cuda`, `tensorrt`, `openvino`, … All but `cpu` need another build of ONNX Runtime. One that "
            "isn't installed or can't be used is refused at the start."
        ),
    )


DECODER_VERSION: Final = 3
"""It rises whenever `imaging` reads pictures that it refused before, so that they are looked at again."""


class LimitSettings(Section):
    """What a picture may be at most."""

    max_object_bytes: Positive = Field(
        25 * 1024 * 1024, description="Larger objects are rejected without being downloaded."
    )
    max_pixels: Positive = Field(
        200_000_000, description="Pictures with more pixels are rejected before a pixel is decoded."
    )
    max_side: Positive = Field(500_000, description="Likewise, for the longer side.")
    max_decode_memory: Positive = Field(
        1024 * 1024 * 1024,
        description="The memory that decoding one picture may take at its peak, as estimated from its header.",
    )

    @property
    def fingerprint(self) -> str:
        """Names these limits and the decoder; a content that was rejected under others is looked at again."""
        return f"{DECODER_VERSION}:{self.max_object_bytes}/{self.max_pixels}/{self.max_side}/{self.max_decode_memory}"


class IngestSettings(Section):
    """The worker that looks at objects."""

    batch_size: Positive = Field(64, description="Hints taken at once.")
    batch_wait_s: Seconds = Field(
        0.25,
        description="Seconds for which a worker that is busy gathers more of them, at most; an idle one never waits.",
    )
    batches_in_flight: Positive = Field(2, description="Batches handled at the same time.")
    concurrency: Positive = Field(8, description="Objects looked at at the same time.")
    max_attempts: Positive = Field(
        3, description="Attempts at one hint before a bug in its handling makes it a dead letter."
    )
    health_host: str = Field("127.0.0.1", description="Address of `/healthz`, `/readyz` and `/metrics`.")
    health_port: Port = Field(6301, description="Its port; 0 takes any free one, which the log names.")


class RequestSettings(Section):
    """The worker that carries out external producers' requests."""

    batch_size: Positive = Field(
        8, description="Requests taken at once; each may be as big as `kafka.max_message_bytes`."
    )
    batch_wait_s: Seconds = Field(0.05, description="Seconds for which a busy worker gathers more of them, at most.")
    max_attempts: Positive = Field(
        3, description="Attempts at one request before a bug in its handling makes it a dead letter."
    )
    fetch_urls: bool = Field(
        True,
        description=(
            "Whether a request may name a URL to fetch. Addresses within private networks are refused all the same, "
            "but for `requests.allowed_networks`."
        ),
    )
    fetch_ports: tuple[int, ...] = Field((80, 443), description="The ports that a URL may name.")
    allowed_networks: tuple[IPvAnyNetwork, ...] = Field(
        (), description="Private networks, in CIDR notation, that may be fetched from."
    )
    fetch_timeout_s: SomeSeconds = Field(20, description="Seconds for fetching one URL, all attempts together.")
    batch_timeout_s: SomeSeconds = Field(60, description="Seconds for fetching all URLs of a batch.")
    fetches_per_host: Positive = Field(2, description="URLs of one host that are fetched at the same time.")
    skip_host_s: Seconds = Field(
        300,
        description=(
            "Seconds for which a host that does not answer is skipped: its URLs are refused at once. Doubles with "
            "each further failure, up to 4 times as long."
        ),
    )
    kept_days: Positive = Field(
        60,
        description=(
            f"Days that a request's id and outcome are remembered; at least {DEAD_LETTERS_KEPT} times "
            f"`kafka.retention_days` and {SEGMENT_DAYS} days more, for so long its message may be delivered again."
        ),
    )
    health_host: str = Field("127.0.0.1", description="Address of `/healthz`, `/readyz` and `/metrics`.")
    health_port: Port = Field(6303, description="Its port; 0 takes any free one, which the log names.")


class IndexSettings(Section):
    """The worker that embeds contents."""

    batch_size: Positive = Field(32, description="Contents taken at once.")
    batch_wait_s: Seconds = Field(
        0.25,
        description="Seconds for which a worker that is busy gathers more of them, at most; an idle one never waits.",
    )
    batches_in_flight: Positive = Field(4, description="Batches handled at the same time.")
    concurrency: Positive = Field(
        8, description="Objects held in memory at the same time, each up to `limits.max_object_bytes`."
    )
    decode_threads: Positive = Field(2, description="Pictures decoded at the same time.")
    max_attempts: Positive = Field(5, description="Attempts at one content before it is rejected as `gave_up`.")
    nearest: Annotated[int, Field(ge=0, le=50)] = Field(
        10, description="Known pictures named with each change; 0: none."
    )
    verify_nearest: Annotated[int, Field(ge=0, le=50)] = Field(
        3,
        description=(
            "How many of them, whose scores are near a copy's or above, are verified by local features before that; "
            "0: none."
        ),
    )
    features_cache_bytes: Positive = Field(
        32 * 1024 * 1024, description="Memory for the local features of pictures, some 100 kB each."
    )
    views: ViewLayout = Field(
        "none",
        description=(
            "Parts of each picture that are indexed beside the whole, so that small crops of it are found: `quarters` "
            "(four, of 0.6 of each side) or `ninths` (nine, of half of each side); `none`: the whole alone. They take "
            "five and ten times the vectors and embeddings. A change takes effect [by `twinlens setup` and `twinlens "
            "reconcile`](configuration.md#views-of-the-contents)."
        ),
    )
    health_host: str = Field("127.0.0.1", description="Address of `/healthz`, `/readyz` and `/metrics`.")
    health_port: Port = Field(6302, description="Its port; 0 takes any free one, which the log names.")


class SweepSettings(Section):
    """Sending again what stayed undone."""

    interval_s: SomeSeconds = Field(
        5, description="Seconds between two looks for work that a message should have started but did not."
    )
    first_wait_s: Seconds = Field(
        30, description="Seconds that something must have waited before it is sent again; doubles with its age."
    )
    max_wait_s: Seconds = Field(900, description="The longest such wait.")
    batch_size: Positive = Field(500, description="Rows sent again per look.")
    unreadable_first_wait_s: Seconds = Field(
        120, description="Seconds until what could not be read is tried again; doubles with the time that it lasts."
    )
    unreadable_max_wait_s: Seconds = Field(14_400, description="The longest such wait.")


class PublishSettings(Section):
    """What others are told of changes."""

    tombstone_after_hours: Annotated[float, Field(ge=0)] = Field(
        168,
        description=(
            "Hours after which a null value follows the `removed` snapshot of an image, so that the compacted topic "
            "forgets its key. A reader that was away for less sees every removal."
        ),
    )


class ReconcileSettings(Section):
    """Comparing bucket, catalog and vectors."""

    every_hours: Annotated[float, Field(ge=0)] = Field(
        24,
        description=(
            "Hours between two full comparisons of bucket, catalog and vectors by the ingest worker; 0: never."
        ),
    )
    after_outage: bool = Field(
        True,
        description="Whether one also follows an outage of the object store or Kafka, and events that expired unread.",
    )
    rate: Positive = Field(2000, description="Objects and rows compared per second, at most.")
    max_removed_share: Share = Field(
        0.1, description="A removal of more than this share of the catalog is refused unless forced."
    )
    second_look_s: Seconds = Field(
        60, description="Seconds between the two looks before a vector without a row is deleted."
    )


class PatrolSettings(Section):
    """Comparing each bucket with the catalog for ever."""

    rate: Annotated[int, Field(ge=0)] = Field(
        500,
        description=(
            "Objects of each bucket that the [patrol](operations.md#the-patrol) compares per second, for ever, to "
            "find what nobody announced; 0: never."
        ),
    )


class AuditSettings(Section):
    """Searching for each content's own vector."""

    rate: Annotated[float, Field(ge=0)] = Field(
        20,
        description=(
            "Contents per second whose own vector is searched for, over and over; 0: never. See "
            "[operations.md](operations.md#the-audit)."
        ),
    )


class RetrySettings(Section):
    """Waiting out an outage."""

    budget_s: Seconds = Field(
        600,
        description=f"Seconds that an outage is waited out before the process ends with exit code {ExitCode.OUTAGE}.",
    )
    wait_initial_s: Seconds = Field(0.2, description="The first wait between two tries, in seconds; it doubles.")
    wait_max_s: Seconds = Field(5, description="The longest wait between two tries.")
    wait_jitter_s: Seconds = Field(0.5, description="Seconds of random extra, so that not all come back at once.")


class ApiSettings(Section):
    """The query service."""

    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: Port = Field(6200, description="The port to listen on; 0 takes any free one, which the log names.")
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        1,
        description=(
            "Processes that answer on this port. Each has a model, database connections, caches and all limits below "
            "of its own, [which adds up](configuration.md#several-processes)."
        ),
    )
    public_url: Annotated[str, Field(pattern=r"^(https?://[^/]+(/.*[^/])?)?$")] = Field(
        "",
        description=(
            "The address that clients reach the service under, for absolute links (`https://pictures.example.org`); "
            "empty: relative links."
        ),
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description=(
            "Host names and addresses, without a port, that clients may ask by, beside this machine's loopback names "
            "and `api.public_url`'s. Other names get a 421."
        ),
    )
    max_request_bytes: Positive = Field(
        64 * 1024 * 1024, description="The largest body of one request. One picture: `limits.max_object_bytes`."
    )
    max_pictures: Annotated[int, Field(ge=1, le=64)] = Field(8, description="The most pictures in one request.")
    max_bytes_in_flight: Positive = Field(
        256 * 1024 * 1024,
        description=(
            "Bytes of uploads, and of pictures read for a thumbnail, held at any moment; more are refused with 503 "
            "until some are done. One client has half of them."
        ),
    )
    body_timeout_s: SomeSeconds = Field(
        20, description="Seconds that a client may take to send its body, and to take each piece of the answer."
    )
    request_timeout_s: SomeSeconds = Field(
        30,
        description=(
            "Seconds that we may take to begin the answer, whatever is asked; then the work for it is cancelled."
        ),
    )
    decode_threads: Positive = Field(2, description="Pictures decoded at the same time.")
    embed_batch: Positive = Field(8, description="Pictures embedded in one run.")
    max_waiting: Positive = Field(
        64, description="Jobs that may wait for decoding and embedding before new ones get a 503."
    )
    max_concurrency: Positive = Field(256, description="Requests at the same time, in all.")
    max_concurrency_per_client: Positive = Field(128, description="Requests at the same time, per API key or address.")
    rate_limit: Annotated[str, Field(pattern=r"^([1-9]\d*/(second|minute|hour))?$")] = Field(
        "",
        description=(
            "Requests per client, as `100/second`, `1000/minute` or `10000/hour`; empty: no limit. Page, files and "
            "thumbnails are free."
        ),
    )
    key_hashes: dict[str, Annotated[str, Field(pattern=SHA256_PATTERN)]] = Field(
        {},
        description=(
            "API keys by name, as the SHA-256 of each key in hex (`python -m query_api.new_key NAME` makes one); "
            "empty: no key is asked for."
        ),
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="Web origins that may call the API from a browser, such as `https://intranet.example.org`."
    )
    trusted_proxies: str = Field(
        "127.0.0.1",
        description=(
            "Addresses of reverse proxies whose `X-Forwarded-For`, `-Proto` and `-Prefix` are believed, "
            "comma-separated; `*` for all."
        ),
    )
    file_delivery: Literal["stream", "redirect"] = Field(
        "stream",
        description="`stream` (through this service) or `redirect` (to a link of the object store that expires).",
    )
    link_expires_s: Annotated[int, Field(ge=10, le=604_800)] = Field(300, description="Seconds that such a link works.")
    thumbnail_cache_bytes: Positive = Field(64 * 1024 * 1024, description="Memory for thumbnails.")
    remembered_bytes: Positive = Field(
        32 * 1024 * 1024,
        description=(
            "Memory for pictures that clients ask to have remembered (`remember=true`), so that another filter needs "
            "no second upload; 15 minutes each at most."
        ),
    )
    verify: bool = Field(
        False,
        description=(
            "Whether hits are verified by local features where a request does not say `verify`; see "
            "[api.md](api.md#verified-matches)."
        ),
    )
    verify_best: Annotated[int, Field(ge=1, le=50)] = Field(5, description="How many of each search's best hits.")
    verify_timeout_s: SomeSeconds = Field(
        3, description="Seconds for all of them; what takes longer is answered unverified."
    )
    features_cache_bytes: Positive = Field(
        64 * 1024 * 1024, description="Memory for the local features of pictures, some 100 kB each."
    )
    search_by_url: bool = Field(
        False,
        description=(
            "Whether clients may name a picture by its URL. Private and link-local addresses are refused all the same."
        ),
    )
    url_timeout_s: SomeSeconds = Field(10, description="Seconds for fetching such a URL.")
    predecessor_routes: bool = Field(
        True,
        description=(
            "Whether to answer the reads of the service that Twinlens replaces (`/sample/file`, `/meta/image`), too."
        ),
    )


class TracingSettings(Section):
    """Traces, by OpenTelemetry."""

    endpoint: Annotated[str, Field(pattern=r"^(https?://.+)?$")] = Field(
        "",
        description=(
            "Where traces are sent, by OTLP over HTTP: `http://collector:4318/v1/traces`; empty: there are none. It "
            "needs the extra `tracing`; [observability.md](observability.md#traces) says what they show."
        ),
    )
    share: Share = Field(
        1,
        description=(
            "The share of the traces that are kept; the same for every process, so that those that are kept are whole."
        ),
    )


class LogSettings(Section):
    """Logs go to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")
    format: Literal["json", "console"] = Field(
        "console", description="`json`: an object a line; `console`: lines for people."
    )


class Settings(BaseSettings):
    """All settings of one process. Build with :func:`load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    environment: Literal["development", "production"] = Field(
        "development",
        description=(
            "`development` accepts well-known secrets (`minioadmin`, `root`); `production` refuses to start with "
            "them, whichever server they are for."
        ),
    )
    kafka: KafkaSettings = KafkaSettings()
    objects: ObjectSettings = ObjectSettings()
    database: DatabaseSettings = DatabaseSettings()
    vectors: VectorSettings = VectorSettings()
    model: ModelSettings = ModelSettings()
    limits: LimitSettings = LimitSettings()
    ingest: IngestSettings = IngestSettings()
    requests: RequestSettings = RequestSettings()
    index: IndexSettings = IndexSettings()
    sweep: SweepSettings = SweepSettings()
    publish: PublishSettings = PublishSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    patrol: PatrolSettings = PatrolSettings()
    audit: AuditSettings = AuditSettings()
    retry: RetrySettings = RetrySettings()
    api: ApiSettings = ApiSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _no_default_secret_in_production(self) -> Settings:
        if self.environment == "production":
            well_known = [name for name, secret in self._secrets() if secret in DEFAULT_SECRETS]
            if well_known:
                raise ValueError(f"{' and '.join(well_known)}: a well-known secret; set one of your own")
        return self

    def _secrets(self) -> Iterator[tuple[str, str | None]]:
        """What the servers that are in use are shown, by the setting that holds it."""
        if self.objects.backend == "s3":
            yield "objects.secret_key", self.objects.secret_key.get_secret_value()
        yield "the password in database.url", password_in(self.database.url.get_secret_value())
        yield "the password in vectors.token", self.vectors.token.get_secret_value().rpartition(":")[2]
        if self.kafka.sasl_password is not None:
            yield "kafka.sasl_password", self.kafka.sasl_password.get_secret_value()

    @model_validator(mode="after")
    def _requests_outlast_their_messages(self) -> Settings:
        longest = DEAD_LETTERS_KEPT * self.kafka.retention_days + SEGMENT_DAYS
        if self.requests.kept_days < longest:
            raise ValueError(
                f"requests.kept_days is {self.requests.kept_days}, but must be at least {longest}: "
                f"{DEAD_LETTERS_KEPT} times kafka.retention_days and {SEGMENT_DAYS}, since a message that is delivered "
                "again after its request was forgotten is carried out again"
            )
        return self

    @model_validator(mode="after")
    def _somebody_notices_changes(self) -> Settings:
        if self.objects.notifications == "none" and self.patrol.rate == 0:
            raise ValueError("with objects.notifications: none and patrol.rate: 0 nobody would notice a change")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the YAML file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=_from_file(config_file()))


def config_file() -> Path | None:
    """The settings file: what ``TWINLENS_CONFIG`` names, else ``config.yaml`` here, else none."""
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    if named:
        path = Path(named)
        if not path.is_file():
            raise ConfigurationError(f"{CONFIG_FILE_VARIABLE} names {named}, which is no file")
        return path
    here = Path("config.yaml")
    return here if here.is_file() else None


def _from_file(path: Path | None) -> dict[str, Any]:
    """What the file sets. By libyaml: with pydantic's own source the file takes longer than all other settings do."""
    if path is None:
        return {}
    with path.open(encoding="utf-8") as file:
        return yaml.load(file, Loader=SafeLoader) or {}


def load_settings(**overrides: Any) -> Settings:
    """Read and check all settings. Raises ConfigurationError that names every fault."""
    _refuse_unknown_variables()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'settings'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise ConfigurationError(faults) from error


@lru_cache(maxsize=1)
def setting_names() -> frozenset[str]:
    """The dotted name of every setting."""
    names = set()
    for section, info in Settings.model_fields.items():
        model = info.annotation
        if isinstance(model, type) and issubclass(model, Section):
            names |= {f"{section}.{key}" for key in model.model_fields}
        else:
            names.add(section)
    return frozenset(names)


def password_in(url: str) -> str | None:
    """The password that a URL has before its host, or None."""
    password = urlsplit(url).password
    return None if password is None else unquote(password)


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores a misspelt variable, and a typing error would silently do nothing."""
    variables = {PREFIX + name.replace(".", "__").upper() for name in setting_names()}
    known = variables | {PREFIX + section.upper() for section in Settings.model_fields}
    with_one_underscore = {variable.replace("__", "_"): variable for variable in variables}
    for variable, value in os.environ.items():
        name = variable.upper()
        if not name.startswith(PREFIX) or name in known or _SERVICE_LINK.match(value):
            continue
        if "__" in name:
            raise ConfigurationError(f"the environment variable {variable} names no setting")
        if name in with_one_underscore:
            meant = with_one_underscore[name]
            raise ConfigurationError(f"the environment variable {variable} names no setting; you may mean {meant}")
