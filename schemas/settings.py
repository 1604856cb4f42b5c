"""Every setting, typed. ``config.yaml`` names each with its default; the environment overrides it."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

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
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from schemas.errors import ConfigurationError
from schemas.topics import DEAD_LETTERS_KEPT, DEFAULT_PREFIX, Topics, TopicSpec, topic_specs

PREFIX = "TWINLENS_"
CONFIG_FILE_VARIABLE = "TWINLENS_CONFIG"
DEFAULT_SECRETS = frozenset({"minioadmin", "minio123", "root", "password", "changeme", "admin", "Milvus"})
"""Secrets that everybody knows; refused in production."""

SEGMENT_DAYS = 7
"""Kafka deletes whole segments, and by default begins a new one after a week: so much longer a message may stay."""

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A section of the settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Section):
    """The brokers, the topics and how to log in."""

    bootstrap_servers: str = "127.0.0.1:9092"
    topic_prefix: str = DEFAULT_PREFIX
    partitions: Positive = 8
    replication_factor: Positive = 1
    retention_days: Positive = 7
    max_message_bytes: Positive = 16 * 1024 * 1024
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_file: Path | None = None
    ssl_cert_file: Path | None = None
    ssl_key_file: Path | None = None
    session_timeout_s: Annotated[float, Field(ge=6)] = 20
    watch_made_anew: bool = True

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

    backend: Literal["s3", "folder"] = "s3"
    endpoint: str = "127.0.0.1:9000"
    secure: bool = False
    region: str = "us-east-1"
    access_key: str = "minioadmin"
    secret_key: SecretStr = SecretStr("minioadmin")
    buckets: Annotated[tuple[str, ...], Field(min_length=1)] = ("pictures",)
    exclude: tuple[str, ...] = (
        "**/@eaDir/**",
        "**/._*",
        "**/.DS_Store",
        "**/Thumbs.db",
        "**/desktop.ini",
        "**/.thumbnails/**",
    )
    folder: Path = Path("buckets")
    notifications: Literal["kafka", "none"] = "kafka"
    notification_arns: tuple[str, ...] = ("arn:minio:sqs::PRIMARY:kafka",)
    timeout_s: Seconds = 10
    stall_s: Seconds = 3

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
    """The catalog."""

    url: SecretStr = SecretStr("sqlite+aiosqlite:///twinlens.db")
    pool_size: Positive = 10
    timeout_s: Annotated[float, Field(gt=0)] = 30


VectorIndexType = Literal["FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8", "SCANN", "DISKANN"]


class VectorSettings(Section):
    """Milvus."""

    uri: str = "http://127.0.0.1:19530"
    token: SecretStr = SecretStr("")
    alias: str = "twinlens"
    index: VectorIndexType = "HNSW"
    hnsw_m: Annotated[int, Field(ge=4, le=64)] = 16
    hnsw_ef_construction: Annotated[int, Field(ge=8, le=512)] = 200
    ivf_nlist: Annotated[int, Field(ge=1, le=65_536)] = 512
    ivf_nprobe: Annotated[int, Field(ge=1, le=65_536)] = 64
    search_ef: Positive = 128
    timeout_s: Seconds = 30

    @model_validator(mode="after")
    def _clusters_to_probe(self) -> VectorSettings:
        if self.ivf_nprobe > self.ivf_nlist:
            raise ValueError(
                f"ivf_nprobe is {self.ivf_nprobe}, but there are only ivf_nlist = {self.ivf_nlist} clusters"
            )
        return self


class ModelSettings(Section):
    """The embedding model."""

    spec: str = "sscd"
    threads: Annotated[int, Field(ge=0)] = 0
    providers: Annotated[tuple[str, ...], Field(min_length=1)] = ("cpu",)


DECODER_VERSION: Final = 2
"""It rises whenever `imaging` reads pictures that it refused before, so that they are looked at again."""


class LimitSettings(Section):
    """What a picture may be at most."""

    max_object_bytes: Positive = 25 * 1024 * 1024
    max_pixels: Positive = 200_000_000
    max_side: Positive = 65_535
    max_decode_memory: Positive = 1024 * 1024 * 1024

    @property
    def fingerprint(self) -> str:
        """Names these limits and the decoder; a content that was rejected under others is looked at again."""
        return f"{DECODER_VERSION}:{self.max_object_bytes}/{self.max_pixels}/{self.max_side}/{self.max_decode_memory}"


class IngestSettings(Section):
    """The worker that looks at objects."""

    batch_size: Positive = 64
    batch_wait_s: Seconds = 0.25
    batches_in_flight: Positive = 2
    concurrency: Positive = 8
    max_attempts: Positive = 3
    health_host: str = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65535)] = 6301


class RequestSettings(Section):
    """The worker that carries out external producers' requests."""

    batch_size: Positive = 8
    batch_wait_s: Seconds = 0.05
    batch_timeout_s: Annotated[float, Field(gt=0)] = 60
    max_attempts: Positive = 3
    fetch_urls: bool = True
    fetch_timeout_s: Annotated[float, Field(gt=0)] = 20
    fetch_ports: tuple[int, ...] = (80, 443)
    fetches_per_host: Positive = 2
    skip_host_s: Seconds = 300
    allowed_networks: tuple[IPvAnyNetwork, ...] = ()
    kept_days: Positive = 60
    health_host: str = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65535)] = 6303


class IndexSettings(Section):
    """The worker that embeds contents."""

    batch_size: Positive = 32
    batch_wait_s: Seconds = 0.25
    batches_in_flight: Positive = 4
    concurrency: Positive = 8
    decode_threads: Positive = 2
    max_attempts: Positive = 5
    nearest: Annotated[int, Field(ge=0, le=50)] = 10
    health_host: str = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65535)] = 6302


class SweepSettings(Section):
    """Sending again what stayed undone."""

    interval_s: Annotated[float, Field(gt=0)] = 5
    first_wait_s: Seconds = 30
    max_wait_s: Seconds = 900
    batch_size: Positive = 500
    unreadable_first_wait_s: Seconds = 120
    unreadable_max_wait_s: Seconds = 14_400


class PublishSettings(Section):
    """What is told to others."""

    tombstone_after_hours: Annotated[float, Field(ge=0)] = 168


class ReconcileSettings(Section):
    """Comparing bucket, catalog and vectors."""

    every_hours: Annotated[float, Field(ge=0)] = 24
    after_outage: bool = True
    rate: Positive = 2000
    max_removed_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    second_look_s: Seconds = 60


class PatrolSettings(Section):
    """Comparing each bucket with the catalog for ever."""

    rate: Annotated[int, Field(ge=0)] = 500


class AuditSettings(Section):
    """Searching for each content's own vector."""

    rate: Annotated[float, Field(ge=0)] = 20


class RetrySettings(Section):
    """Waiting out an outage."""

    budget_s: Seconds = 600
    wait_initial_s: Seconds = 0.2
    wait_max_s: Seconds = 5
    wait_jitter_s: Seconds = 0.5


class ApiSettings(Section):
    """The query service."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 6200
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    public_url: Annotated[str, Field(pattern=r"^(https?://[^/]+(/.*[^/])?)?$")] = ""
    allowed_hosts: tuple[str, ...] = ()
    max_request_bytes: Positive = 64 * 1024 * 1024
    max_pictures: Annotated[int, Field(ge=1, le=64)] = 8
    max_bytes_in_flight: Positive = 256 * 1024 * 1024
    body_timeout_s: Annotated[float, Field(gt=0)] = 20
    request_timeout_s: Annotated[float, Field(gt=0)] = 30
    decode_threads: Positive = 2
    embed_batch: Positive = 8
    max_waiting: Positive = 64
    max_concurrency: Positive = 256
    max_concurrency_per_client: Positive = 128
    rate_limit: Annotated[str, Field(pattern=r"^([1-9]\d*/(second|minute|hour))?$")] = ""
    key_hashes: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = {}
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: str = "127.0.0.1"
    file_delivery: Literal["stream", "redirect"] = "stream"
    link_expires_s: Annotated[int, Field(ge=10, le=604_800)] = 300
    thumbnail_cache_bytes: Positive = 64 * 1024 * 1024
    search_by_url: bool = False
    url_timeout_s: Annotated[float, Field(gt=0)] = 10
    predecessor_routes: bool = True


class LogSettings(Section):
    """Logs go to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "console"


class Settings(BaseSettings):
    """All settings of one process. Build with :func:`load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    environment: Literal["development", "production"] = "development"
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
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _no_default_secret_in_production(self) -> Settings:
        well_known = self.objects.secret_key.get_secret_value() in DEFAULT_SECRETS
        if self.environment == "production" and self.objects.backend == "s3" and well_known:
            raise ValueError("objects.secret_key is a well-known default; set one of your own")
        return self

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
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=config_file())


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


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores a misspelt variable, and a typing error would silently do nothing."""
    sections = set(Settings.model_fields)
    known = {PREFIX + name.replace(".", "__").upper() for name in setting_names()} | {
        PREFIX + section.upper() for section in sections
    }
    for variable in os.environ:
        if "__" in variable and variable.upper().startswith(PREFIX) and variable.upper() not in known:
            raise ConfigurationError(f"the environment variable {variable} names no setting")
