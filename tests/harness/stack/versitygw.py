"""versitygw, another S3 server: it keeps objects as files, and announces to Kafka without keeping anything."""

from __future__ import annotations

from pathlib import Path

from tests.harness.stack.health import answers_ok
from tests.harness.stack.install import versitygw_program
from tests.harness.stack.minio import MAIN_ROUTE, Credentials
from tests.harness.stack.process import Command, ServerProcess


def versitygw_server(
    folder: Path, logs: Path, port: int, credentials: Credentials, kafka: str | None = None
) -> ServerProcess:
    """Versitygw on 127.0.0.1:`port` with its objects in `folder`.

    With `kafka` (host:port) it announces all changes of all buckets to the topic of `MAIN_ROUTE`. It ends unless that
    is there when it starts, so that it is started again until then. It counts as ready at once: `twinlens setup` makes
    the topic, and then waits for the bucket.
    """
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    announcing = ["--event-kafka-url", kafka, "--event-kafka-topic", f"{MAIN_ROUTE.topic_prefix}bucket-events"]
    program = [str(versitygw_program()), "--port", f"127.0.0.1:{port}", "--quiet", "--health", _HEALTH, "--keep-alive"]
    serving = [*program, *(announcing if kafka else []), "posix", str(data)]
    return ServerProcess(
        "versitygw",
        Command(
            ["sh", "-c", 'until "$@"; do sleep 1; done', "sh", *filter(None, serving)],
            {"ROOT_ACCESS_KEY": credentials.access_key, "ROOT_SECRET_KEY": credentials.secret_key},
        ),
        log=logs / "versitygw.log",
        is_ready=lambda: kafka is not None or answers_ok(f"http://127.0.0.1:{port}{_HEALTH}"),
    )


_HEALTH = "/health"
