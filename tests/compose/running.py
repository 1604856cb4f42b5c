"""Cases on an installation that runs: what it does, what it refuses, and what it survives."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from minio.commonconfig import CopySource
from minio.error import S3Error
from minio.notificationconfig import NotificationConfig

from tests.compose.checks import expect, until
from tests.compose.client import BUCKET, Client
from tests.compose.images import ROOT, docker
from tests.compose.page import copy_is_found
from tests.compose.stack import RUNNING, Stack
from tests.harness.documented import documented
from tests.harness.pictures import picture
from tests.harness.producers import outcomes, put, send, wait_for_outcomes
from tests.harness.reading import Place

FIRST: Final = range(100, 106)
SCRAPED_EVERY_S: Final = 15
"""As ops/observability/prometheus.yml says."""
_SQL_WRITES: Final = (
    "INSERT INTO progress (name, position, updated_at) VALUES ('x', '1', NOW())",
    "UPDATE images SET etag = NULL",
    "DELETE FROM contents",
    "TRUNCATE TABLE requests",
    "DROP TABLE images",
    "CREATE TABLE mine (a INT)",
    "ALTER TABLE images ADD COLUMN mine INT",
    "CREATE USER mine",
)
_ROWS: Final = 3
"""Of those statements, the first change rows alone, as the writer may."""
_SQL_DENIED: Final = re.compile(r"ERROR (1142|1044|1227)")
_VECTOR_WRITES: Final = """
from grpc import RpcError
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException
token = "twinlens_reader:" + open("/secrets/milvus_reader_password").read()
client = MilvusClient(uri="http://milvus:19530", token=token)
name = client.describe_alias("twinlens")["collection_name"]
[row] = client.query(name, filter="", limit=1, output_fields=["*"])
for write in (
    lambda: client.delete(name, ids=[row["id"]]),
    lambda: client.insert(name, [row]),
    lambda: client.upsert(name, [row]),
    lambda: client.drop_collection(name),
    lambda: client.drop_alias("twinlens"),
    lambda: client.create_collection("mine", dimension=8),
    lambda: client.create_user("mine", "password-of-mine"),
):
    try:
        write()
    except (MilvusException, RpcError) as error:
        assert "deny" in str(error) or "denied" in str(error), error
        print("denied")
    else:
        print("DONE")
"""


def from_nothing(stack: Stack) -> str:
    """Up, healthy, and a picture goes through it and away again; API and page on both ports."""
    # Compose takes an image that is there, however old it is.
    docker("image", "rm", "--force", "twinlens", "twinlens-minio", "twinlens-milvus", check=False)
    began = time.monotonic()
    stack.run("create")
    built = time.monotonic() - began
    took = stack.up()
    for service in RUNNING:
        expect(stack.health(service) == "healthy", f"{service} is {stack.health(service)}")
    client = Client(stack)
    client.put(FIRST)
    searchable = client.wait_found(FIRST)
    client.delete(FIRST[-1])
    gone = client.wait_gone(FIRST[-1])
    page = httpx.get(stack.url("TWINLENS_PAGE_PORT"), follow_redirects=True)
    expect(page.status_code == httpx.codes.OK and "<html" in page.text, "the page is not on its own port")
    return (
        f"built in {built:.0f} s, healthy after {took:.0f} s, {len(FIRST)} pictures found after {searchable:.1f} s, "
        f"one gone after {gone:.1f} s"
    )


def end_to_end(stack: Stack) -> str:
    """The end-to-end suite's cases of whoever has the published ports, and a producer's requests over Kafka."""
    client = Client(stack)
    installation = {
        "api_url": stack.url("TWINLENS_PORT"),
        "s3": f"127.0.0.1:{stack.ports['S3_PORT']}",
        "access_key": stack.secret("minio_root_user"),
        "secret_key": stack.secret("minio_root_password"),
        "bucket": BUCKET,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:schemathesis", "tests/e2e/test_pipeline.py"]
    environment = {**os.environ, "TWINLENS_TEST_INSTALLATION": json.dumps(installation)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, (done.stdout + done.stderr)[-6000:])
    place = Place(
        s3=client.s3, bucket=BUCKET, database_url="", milvus="", alias="",
        kafka=f"localhost:{stack.ports['KAFKA_PORT']}", topic_prefix="twinlens.",
    )  # fmt: skip
    sent = [put("asked", "asked/for.png", picture(150, side=64)), put("refused", "a//b", picture(151, side=64))]
    send(place, sent)
    wait_for_outcomes(place, {"asked", "refused"})
    told = {name: json.loads(min(messages))["outcome"] for name, messages in outcomes(place).items()}
    expect(told == {"asked": "stored", "refused": "refused"}, f"the producer was told {told}")
    until(lambda: client.found(150, "asked/for.png"), "what was asked for is found")
    [counted] = [line for line in done.stdout.splitlines() if " passed" in line]
    return f"{counted.strip('= ')}; a producer's request is stored and found, another refused"


def page(stack: Stack) -> str:
    """A copy is found in a real browser: on the page's own port, and below a path behind a reverse proxy."""
    client = Client(stack)
    copy_is_found(client, stack.url("TWINLENS_PAGE_PORT"))
    return "a copy is found in Chromium"


def least_privilege(stack: Stack) -> str:
    """The reader is refused every write, workers change no table, and the query service has no way to Kafka."""
    refused = _refused_by_minio(stack) + _refused_by_mysql(stack) + _refused_by_milvus(stack)
    connect = ("timeout", "10", "bash", "-c", "exec 3<>/dev/tcp/kafka/9092")
    expect(stack.execute("query", *connect, check=False).returncode != 0, "query reaches Kafka")
    expect(stack.execute("index", *connect, check=False).returncode == 0, "index does not reach Kafka")
    for service in ("ingest", "requests", "index", "query", "minio"):
        write = stack.execute(service, "touch", "/etc/mine", check=False)
        expect(write.returncode != 0, f"{service} may write to its root file system")
    seen = stack.execute("query", "ls", "/secrets").stdout.split()
    expect(sorted(seen) == [f"{of}_reader_password" for of in ("milvus", "minio", "mysql")], f"query sees {seen}")
    return f"{refused} writes refused, query does not reach Kafka and sees three secrets"


def _refused_by_minio(stack: Stack) -> int:
    reader = Client(stack).s3_as("twinlens_reader", stack.secret("minio_reader_password"))
    present = f"proof/{FIRST[0]}.png"
    expect(reader.stat_object(BUCKET, present).size, "the reader may not read")
    writes: tuple[Callable[[], Any], ...] = (
        lambda: reader.put_object(BUCKET, "mine", BytesIO(b"x"), 1),
        lambda: reader.put_object(BUCKET, "mine", BytesIO(bytes(6 << 20)), -1, part_size=5 << 20),
        lambda: reader.copy_object(BUCKET, "mine", CopySource(BUCKET, present)),
        lambda: reader.remove_object(BUCKET, present),
        lambda: reader.make_bucket("mine"),
        lambda: reader.remove_bucket(BUCKET),
        lambda: reader.set_bucket_notification(BUCKET, NotificationConfig()),
        lambda: reader.delete_bucket_policy(BUCKET),
    )
    for number, write in enumerate(writes):
        try:
            write()
        except S3Error as error:
            expect(error.code == "AccessDenied", f"MinIO said {error.code} to the reader")
        else:
            expect(condition=False, what=f"MinIO let the reader do {number}")
    return len(writes)


def _refused_by_mysql(stack: Stack) -> int:
    refused = [("reader", statement) for statement in _SQL_WRITES]
    refused += [("writer", statement) for statement in _SQL_WRITES[_ROWS:]]
    for user, statement in refused:
        login = (f"-utwinlens_{user}", f"-p{stack.secret(f'mysql_{user}_password')}", "twinlens")
        denied = stack.execute("mysql", "mysql", *login, "-e", statement, check=False)
        expect(_SQL_DENIED.search(denied.stderr), f"MySQL said to the {user}: {denied.stderr}")
    return len(refused)


def _refused_by_milvus(stack: Stack) -> int:
    said = stack.execute("query", "python", "-c", _VECTOR_WRITES).stdout.split()
    expect(set(said) == {"denied"}, f"Milvus let the reader write: {said}")
    return len(said)


def image(stack: Stack) -> str:
    """Nothing in the image that is not needed; it runs as no root."""
    [user] = {stack.inspect(service)["Config"]["User"] for service in ("ingest", "requests", "index", "query")}
    expect(user == "10001:10001", f"it runs as {user}")
    compiler = docker("run", "--rm", "--entrypoint", "which", "twinlens", "gcc", "cc", "pip", check=False).stdout
    expect("/opt/twinlens" not in compiler and "gcc" not in compiler, f"the image has {compiler}")
    own = docker("run", "--rm", "--entrypoint", "du", "twinlens", "-sm", "/opt/twinlens").stdout.split()[0]
    sizes = docker("image", "ls", "twinlens:latest", "--format", "{{.Size}}").stdout.strip()
    return f"{sizes}, of which {own} MB are ours"


def scaled(stack: Stack) -> str:
    """Two index workers share the work."""
    stack.run("up", "--detach", "--wait", "--no-recreate", "--scale", "index=2")
    client = Client(stack)
    client.put(range(200, 210))
    client.wait_found(range(200, 210))
    stack.run("up", "--detach", "--wait", "--no-recreate", "--scale", "index=1")
    return "ten pictures by two index workers"


def monitored(stack: Stack) -> str:
    """Prometheus of the profile scrapes every process, has all rules, and tells of a worker that is gone."""
    stack.run("--profile", "monitoring", "up", "--detach", "--wait", "--no-recreate", "prometheus")
    prometheus = httpx.Client(base_url=stack.url("PROMETHEUS_PORT"), timeout=30)

    def asked(expression: str) -> list[dict[str, Any]]:
        answer = prometheus.get("/api/v1/query", params={"query": expression}).json()
        expect(answer["status"] == "success", f"{expression}: {answer}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def up() -> set[str]:
        return {found["metric"]["job"] for found in asked('up{job=~"twinlens-.*"} == 1')}

    jobs = {f"twinlens-{service}" for service in ("ingest", "requests", "index", "query")}
    until(lambda: up() == jobs, "Prometheus scrapes all four")
    groups = prometheus.get("/api/v1/rules").json()["data"]["groups"]
    loaded = {rule["name"]: rule for group in groups for rule in group["rules"]}
    rules = yaml.safe_load((ROOT / "ops/alerts/twinlens.rules.yml").read_text(encoding="utf-8"))["groups"]
    written = {rule["alert"]: rule["expr"] for group in rules for rule in group["rules"]}
    expect(loaded.keys() == written.keys(), f"rules are loaded: {sorted(loaded)}")
    until(lambda: all(rule["health"] == "ok" for rule in _rules(prometheus)), "all rules are evaluated")
    client = Client(stack)
    client.put(range(250, 255))
    client.wait_found(range(250, 255))
    expressions = _panels()
    # Rates are of two scrapes at least.
    time.sleep(3 * SCRAPED_EVERY_S)
    shown = [expression for expression in expressions if asked(expression)]
    expect(any("event_to_searchable" in expression for expression in shown), f"the dashboard would show {shown}")
    stack.run("stop", "requests")
    noticed = until(lambda: bool(asked(written["TwinlensProcessGone"])), "the missing worker is told of")
    stack.run("start", "requests")
    stack.run("--profile", "monitoring", "rm", "--stop", "--force", "prometheus")
    stack.wait_healthy("requests")
    return (
        f"{len(jobs)} processes, {len(loaded)} rules, {len(shown)} of {len(expressions)} "
        f"expressions of the dashboard with data; a worker that ended is noticed after {noticed:.0f} s"
    )


def _rules(prometheus: httpx.Client) -> list[dict[str, Any]]:
    return [rule for group in prometheus.get("/api/v1/rules").json()["data"]["groups"] for rule in group["rules"]]


def _panels() -> list[str]:
    """The dashboard's expressions, with what Grafana would put into them."""
    file = ROOT / "ops/observability/grafana/dashboards/twinlens.json"
    dashboard = json.loads(file.read_text(encoding="utf-8"))
    panels = [panel for row in dashboard["panels"] for panel in (row, *row.get("panels", []))]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [re.sub(r"\$__(rate_)?interval|\$__range", "1m", expression) for expression in expressions]


def killed(stack: Stack) -> str:
    """Each container is killed in turn, comes back by itself, and what is put then is found."""
    client, times = Client(stack), []
    for number, service in enumerate(RUNNING, start=300):
        took = _crash(stack, service)
        client.put([number])
        times.append(f"{service} {took:.0f} s (found after {client.wait_found([number]):.0f} s)")
    return ", ".join(times)


def _crash(stack: Stack, service: str) -> float:
    """Kill the container's process, wait until all is healthy again; the seconds that took.

    As a crash, by who runs the engine: what Docker itself is told to kill, it leaves stopped.
    """
    before = stack.inspect(service)["State"]
    began = time.monotonic()
    os.kill(before["Pid"], signal.SIGKILL)
    until(lambda: stack.inspect(service)["State"]["StartedAt"] != before["StartedAt"], f"{service} is started again")
    stack.wait_healthy(*RUNNING)
    return time.monotonic() - began


def behind_a_proxy(stack: Stack) -> str:
    """The page below a path of nginx on the same machine, which is trusted by the address that the docs say."""
    from tests.harness.browser.proxies import proxied

    with tempfile.TemporaryDirectory(prefix="twinlens-proxy-") as name:
        folder = Path(name)
        stack.shell(f"{documented('Behind a reverse proxy', 'docker network inspect').strip()} >gateway", folder)
        gateway = (folder / "gateway").read_text(encoding="utf-8").strip()
        stack.configure(TWINLENS_API__TRUSTED_PROXIES=gateway)
        stack.up()
        client = Client(stack)
        with proxied("nginx", stack.url("TWINLENS_PORT"), folder) as url:
            copy_is_found(client, url.rstrip("/"))
            [image] = httpx.get(f"{url}v1/images", params={"limit": 1}).json()["results"]
            expect(image["file_url"].startswith("/pictures/v1/"), f"links lead to {image['file_url']}")
    return f"trusted as {gateway}, links lead back below its path"
