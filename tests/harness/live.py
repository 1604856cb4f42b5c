"""An installation of Twinlens on real servers: its processes, a plain client, and the full comparison."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from io import BytesIO
from pathlib import Path

from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from tests.harness.comparison import Differences, compare
from tests.harness.reading import Place, read_catalog
from tests.harness.stack.cleanup import s3_client
from tests.harness.stack.stack import Addresses
from tests.harness.stack.twinlens import Application

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 240.0
"""How long what should be so within seconds is waited for; other tests run meanwhile, and machines are shared."""

QUICK: Mapping[str, str] = {
    "TWINLENS_LOG__FORMAT": "json",
    "TWINLENS_MODEL__SPEC": "sscd_distilled",
    "TWINLENS_MODEL__THREADS": "1",
    "TWINLENS_KAFKA__PARTITIONS": "3",
    "TWINLENS_KAFKA__SESSION_TIMEOUT_S": "6",
    "TWINLENS_SWEEP__INTERVAL_S": "1",
    "TWINLENS_SWEEP__FIRST_WAIT_S": "5",
    "TWINLENS_SWEEP__MAX_WAIT_S": "20",
    "TWINLENS_RECONCILE__SECOND_LOOK_S": "2",
    "TWINLENS_PATROL__RATE": "0",
}
"""Settings that make what usually takes a minute take seconds. The patrol is off: it would heal what is to be seen."""


WITHOUT_RECONCILE = {
    "TWINLENS_RECONCILE__AFTER_OUTAGE": "false",
    "TWINLENS_RECONCILE__EVERY_HOURS": "0",
    "TWINLENS_AUDIT__RATE": "0",
}
"""What is healed under these settings was healed by the handlers and the sweep alone."""


class Installed:
    """An installation as whoever puts pictures into it knows it: its bucket, and where its API answers."""

    def __init__(self, s3: Minio, bucket: str, api_url: str) -> None:
        self.s3 = s3
        self.bucket = bucket
        self.api_url = api_url

    def put(self, key: str, data: bytes) -> None:
        """Store an object, tried again until it is acknowledged."""
        until(lambda: _done(lambda: self.s3.put_object(self.bucket, key, BytesIO(data), len(data))), f"put {key}")

    def delete(self, key: str) -> None:
        """Delete an object, tried again until it is acknowledged."""
        until(lambda: _done(lambda: self.s3.remove_object(self.bucket, key)), f"delete {key}")


class Live(Installed):
    """Processes and client of one installation; ``environment`` holds its ``TWINLENS_*`` variables.

    ``clocks``: variables that give processes clocks of their own, by their roles' names. ``program``, ``forked``: see
    Application. Tests that prove something of a process's start or memory don't fork.
    """

    def __init__(
        self,
        addresses: Addresses,
        environment: Mapping[str, str],
        logs: Path,
        *,
        index_workers: int = 1,
        clocks: Mapping[str, Mapping[str, str]] | None = None,
        program: Sequence[str] | None = None,
        forked: bool = True,
    ) -> None:
        self._addresses = addresses
        self._forked = forked
        self._others: list[Live] = []
        self.environment = {**environment}
        self.logs = logs
        self.application = Application(
            self.environment, logs, index_workers=index_workers, more=clocks, program=program, forked=forked
        )
        [bucket, *_] = json.loads(environment["TWINLENS_OBJECTS__BUCKETS"])
        super().__init__(s3_client(addresses), bucket, self.application.api_url)
        self.place = Place(
            s3=self.s3,
            bucket=self.bucket,
            database_url=environment["TWINLENS_DATABASE__URL"],
            milvus=environment["TWINLENS_VECTORS__URI"],
            alias=environment["TWINLENS_VECTORS__ALIAS"],
            kafka=environment["TWINLENS_KAFKA__BOOTSTRAP_SERVERS"],
            topic_prefix=environment["TWINLENS_KAFKA__TOPIC_PREFIX"],
            api=self.api_url,
            clocks_wrong=bool(clocks),
        )

    def with_environment(self, more: Mapping[str, str]) -> Live:
        """Other processes of the same installation, under more variables; `stop` ends them too."""
        return self._another(Live(self._addresses, {**self.environment, **more}, self.logs, forked=self._forked))

    def with_program(self, program: Sequence[str]) -> Live:
        """Other processes of the same installation, which run this in the place of `twinlens`; `stop` ends them too."""
        return self._another(Live(self._addresses, self.environment, self.logs, program=program, forked=self._forked))

    def _another(self, other: Live) -> Live:
        self._others.append(other)
        return other

    def stop(self) -> None:
        """Stop all processes, each in good order."""
        for live in (*self._others, self):
            live.application.stop()

    def start(self, *roles: str) -> None:
        """Start those processes and wait until they are ready."""
        for role in roles:
            self.application.processes[role].launch()
        for role in roles:
            self.application.processes[role].wait_ready()

    def differences(
        self, *, gone: Collection[bytes] = (), broken: Collection[bytes] = (), search: bool = False
    ) -> Differences:
        """The full comparison right now."""
        return asyncio.run(compare(self.place, gone=gone, broken=broken, search=search))

    def settles(
        self,
        seconds: float = PATIENCE_SECONDS,
        *,
        gone: Collection[bytes] = (),
        broken: Collection[bytes] = (),
        search: bool = False,
    ) -> Differences:
        """The comparison once it finds nothing, or what it still finds when the time is up."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.differences(gone=gone, broken=broken)
            if found.total == 0 and search:
                found = self.differences(gone=gone, broken=broken, search=True)
            if found.total == 0 or time.monotonic() > deadline:
                return found
            time.sleep(1)

    def catalog_keys(self) -> set[str]:
        """The keys of the objects that SQL knows."""
        return set(asyncio.run(read_catalog(self.place)).images)

    def readiness(self, role: str) -> tuple[int, dict[str, str]]:
        """Status and checks of a process's /readyz; status 0 when it does not answer."""
        url = f"{self.application.health_url(role)}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return answer.status, json.load(answer)["checks"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["checks"]
        except (urllib.error.URLError, OSError):
            return 0, {}

    def metrics(self, role: str) -> dict[str, float]:
        """The samples of a process's /metrics by name with labels."""
        with urllib.request.urlopen(f"{self.application.health_url(role)}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    def log_events(self, role: str) -> list[dict[str, object]]:
        """The log lines of a process, all its lives together."""
        file = self.logs / f"{role}.log"
        if not file.exists():
            return []
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


def until(met: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return when the condition is met; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(POLL_SECONDS)


def _done(call: Callable[[], object]) -> bool:
    try:
        call()
    except (MinioException, HTTPError, OSError):
        return False
    return True
