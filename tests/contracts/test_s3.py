"""What only an S3 server can do to us: notification rules, refused credentials, broken answers, its end and return."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from minio import Minio
from minio.notificationconfig import NotificationConfig, QueueConfig, SuffixFilterRule
from minio.sse import SseCustomerKey, SseS3
from pydantic import SecretStr

from schemas.errors import (
    TIMEOUT,
    BucketOutage,
    ConfigurationError,
    ObjectStoreOutage,
    ObjectTooLarge,
    ObjectUnreadable,
    RequestRefused,
)
from schemas.records import ObjectRef
from schemas.settings import ObjectSettings
from stores.objects.s3 import S3Objects
from streams.common.scope import listed, scoped
from tests.contracts.s3_servers import answering, relayed, stalling
from tests.harness.certificates import Authority
from tests.harness.object_stores import keys_of, read_all, s3_settings, stream_all
from tests.harness.stack.fixtures import Servers
from tests.harness.stack.install import minio_program
from tests.harness.stack.minio import MAIN_ROUTE, TEST_ROUTES, new_credentials
from tests.harness.stack.process import Command, ServerProcess, free_port, port_answers
from tests.harness.stack.stack import Stack
from tests.harness.waiting import silent_port, until


@pytest.fixture
def settings(servers: Servers) -> ObjectSettings:
    """Settings for a running MinIO, with its main notification target."""
    return s3_settings(servers.need("minio"), arns=MAIN_ROUTE.arns)


@pytest_asyncio.fixture
async def store(settings: ObjectSettings) -> AsyncIterator[S3Objects]:
    """A store on a running MinIO."""
    opened = S3Objects(settings)
    yield opened
    await opened.close()


def rules(client: Minio, bucket: str) -> list[tuple[str, list[str]]]:
    """The bucket's notification rules: target and kinds of events."""
    found = client.get_bucket_notification(bucket).queue_config_list or []
    return sorted((rule.queue or "", sorted(rule.events)) for rule in found)


OURS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


async def test_a_bucket_announces_its_changes(store: S3Objects, s3: Minio, bucket: str) -> None:
    """`ensure_bucket` adds one rule per target, however often it runs."""
    await store.ensure_bucket(bucket)
    await store.ensure_bucket(bucket)
    assert rules(s3, bucket) == [(arn, OURS) for arn in sorted(MAIN_ROUTE.arns)]


async def test_other_rules_stay(store: S3Objects, s3: Minio, bucket: str) -> None:
    """Rules of other targets and for other events are kept; a narrower one of ours is widened."""
    other = TEST_ROUTES[0].durable_arn
    narrow = QueueConfig(
        queue=MAIN_ROUTE.durable_arn,
        events=["s3:ObjectCreated:Put", "s3:ObjectAccessed:Get"],
        suffix_filter_rule=SuffixFilterRule(".jpg"),
    )
    elsewhere = QueueConfig(queue=other, events=["s3:ObjectCreated:*"])
    s3.set_bucket_notification(bucket, NotificationConfig(queue_config_list=[elsewhere, narrow]))
    await store.ensure_bucket(bucket)
    assert rules(s3, bucket) == sorted(
        [
            (other, ["s3:ObjectCreated:*"]),
            (MAIN_ROUTE.durable_arn, ["s3:ObjectAccessed:Get"]),
            *[(arn, OURS) for arn in MAIN_ROUTE.arns],
        ]
    )


@pytest.mark.parametrize("arn", ["arn:minio:sqs::NOWHERE:kafka", "nonsense"])
async def test_an_unknown_notification_target_is_a_configuration_error(
    settings: ObjectSettings, bucket: str, arn: str
) -> None:
    """The text names the setting to change, also where it is no ARN at all."""
    opened = S3Objects(settings.model_copy(update={"notification_arns": (arn,)}))
    with pytest.raises(ConfigurationError, match="notification_arns"):
        await opened.ensure_bucket(bucket)
    await opened.close()


async def test_a_rule_that_is_gone_is_put_back(store: S3Objects, s3: Minio, bucket: str) -> None:
    """It is said whether that had to be done."""
    await store.ensure_bucket(bucket)
    assert not await store.ensure_announced(bucket)
    s3.set_bucket_notification(bucket, NotificationConfig())
    assert await store.ensure_announced(bucket)
    assert rules(s3, bucket) == [(arn, OURS) for arn in sorted(MAIN_ROUTE.arns)]


async def test_a_bucket_that_is_gone_is_not_made_for_its_rule(store: S3Objects, s3: Minio) -> None:
    """An empty one in its place would look like a bucket whose objects were removed."""
    with pytest.raises(ObjectStoreOutage):
        await store.ensure_announced("nobody-has-made-this")
    assert not s3.bucket_exists("nobody-has-made-this")


@pytest.mark.parametrize("change", [{"notification_arns": ()}, {"notifications": "none"}])
async def test_without_notifications_no_rule_is_made(
    settings: ObjectSettings, s3: Minio, bucket: str, change: dict[str, object]
) -> None:
    """No ARN, or the setting, leaves the bucket's rules alone."""
    opened = S3Objects(settings.model_copy(update=change))
    await opened.ensure_bucket(bucket)
    assert not await opened.ensure_announced(bucket)
    assert rules(s3, bucket) == []
    await opened.close()


async def test_refused_credentials_are_an_outage(settings: ObjectSettings, bucket: str) -> None:
    """While keys are rotated nothing is given up, and nothing is said to be missing."""
    for change in ({"access_key": "nobody"}, {"secret_key": SecretStr("wrong-secret")}):
        opened = S3Objects(settings.model_copy(update=change))
        ref = ObjectRef(bucket, "a.png")
        for call in (opened.head(ref), read_all(opened, ref), keys_of(opened, bucket), opened.check(bucket)):
            with pytest.raises(ObjectStoreOutage) as raised:
                await call
            assert not isinstance(raised.value, BucketOutage)
            assert not raised.value.definite
        await opened.close()


@pytest.mark.parametrize("key", ["a//b.png", "../c.png", " ", "/d.png"])
async def test_a_key_that_minio_refuses_is_not_there(store: S3Objects, bucket: str, key: str) -> None:
    """Asked about it by a listing, MinIO either lists nothing or says that no object can be named so."""
    assert await listed(ObjectRef(bucket, key), store) is None


async def test_a_bucket_that_is_gone_is_its_own_outage(settings: ObjectSettings, bucket: str) -> None:
    """The server answers, and says so."""
    opened = S3Objects(settings)
    with pytest.raises(BucketOutage) as raised:
        await opened.check(f"{bucket}-missing")
    assert raised.value.bucket == f"{bucket}-missing"
    await opened.close()


@pytest.mark.parametrize(
    ("status", "code", "definite"),
    [
        ("403 Forbidden", "AccessDenied", True),
        ("403 Forbidden", "InvalidObjectState", True),
        ("400 Bad Request", "InvalidRequest", True),
        ("503 Service Unavailable", "SlowDown", False),
        ("500 Internal Server Error", "InternalError", False),
    ],
)
async def test_a_failure_says_its_code_and_whether_it_may_pass(status: str, code: str, *, definite: bool) -> None:
    """What the server has understood and refused gets the same answer at once; all else may pass."""
    with answering(s3_error(status, code)) as settings:
        opened = S3Objects(settings)
        with pytest.raises(ObjectStoreOutage) as raised:
            await read_all(opened, ObjectRef("pictures", "a.png"))
        assert (raised.value.code, raised.value.definite) == (code, definite)
        await opened.close()


async def test_a_folder_marker_is_an_object(store: S3Objects, bucket: str) -> None:
    """A key that ends with a slash names an object of its own, beside those below it."""
    for key in ("dir/", "dir/a.png"):
        await store.put(ObjectRef(bucket, key), b"", content_type="application/x-directory")
    assert await keys_of(store, bucket) == ["dir/", "dir/a.png"]
    state = await store.head(ObjectRef(bucket, "dir/"))
    assert state is not None
    assert state.size == 0


async def test_packed_objects_are_read_as_they_are_stored(store: S3Objects, s3: Minio, bucket: str) -> None:
    """A Content-Encoding is the object's own affair: size, hash and bytes are those in the store."""
    packed = gzip.compress(b"x" * 100_000)
    s3.put_object(bucket, "a.svgz", io.BytesIO(packed), len(packed), metadata={"Content-Encoding": "gzip"})
    found = await read_all(store, ObjectRef(bucket, "a.svgz"))
    assert found is not None
    assert found[1] == packed
    assert found[0].size == len(packed)
    assert await stream_all(store.stream(ObjectRef(bucket, "a.svgz"))) == packed


async def test_metadata_beyond_ascii_is_refused(store: S3Objects, bucket: str) -> None:
    """S3 can't carry it, and the text says which."""
    for value in ("ü", "line\nbreak"):
        with pytest.raises(RequestRefused, match="external-id"):
            await store.put(ObjectRef(bucket, "a.png"), b"", content_type="image/png", metadata={"external-id": value})
    for content_type in ("image/png\r\nX: y", "ü"):
        with pytest.raises(RequestRefused, match="Content-Type"):
            await store.put(ObjectRef(bucket, "a.png"), b"", content_type=content_type)
    for name in ("two words", "colon:", "", "ü"):
        with pytest.raises(RequestRefused, match="name"):
            await store.put(ObjectRef(bucket, "a.png"), b"", content_type="image/png", metadata={name: "x"})


def http(status: str, body: bytes, *headers: str) -> bytes:
    """An HTTP answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *headers, "", ""]).encode() + body


def s3_error(status: str, code: str) -> bytes:
    """An S3 error answer."""
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    return http(status, body, "Content-Type: application/xml", f"Content-Length: {len(body)}")


@pytest.mark.parametrize(
    "answer",
    [
        s3_error("503 Slow Down", "SlowDown"),
        s3_error("503 Service Unavailable", "ServiceUnavailable"),
        s3_error("500 Internal Server Error", "InternalError"),
        s3_error("429 Too Many Requests", "TooManyRequests"),
        s3_error("403 Forbidden", "RequestTimeTooSkewed"),
        s3_error("404 Not Found", "NoSuchBucket"),
        http("502 Bad Gateway", b"<html>nginx</html>", "Content-Type: text/html", "Content-Length: 18"),
        http("404 Not Found", b"<html>nginx</html>", "Content-Type: text/html", "Content-Length: 18"),
        http("404 Not Found", b"5\r\n<Err", "Content-Type: application/xml", "Transfer-Encoding: chunked"),
        http("404 Not Found", b"<Error", "Content-Type: application/xml", "Content-Length: 6"),
        http("200 OK", b"<html>", "Content-Type: text/html", "Content-Length: 6"),
        http("200 OK", b"half", "Content-Length: 8", 'ETag: "x"', "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"),
        b"no HTTP at all\r\n\r\n",
        b"",
    ],
    ids=[
        "slow-down",
        "503",
        "500",
        "429",
        "clock",
        "no-bucket",
        "proxy-502",
        "proxy-404",
        "cut-off-404",
        "no-xml-404",
        "proxy-200",
        "cut-off",
        "garbage",
        "empty",
    ],
)
async def test_broken_answers_are_outages(answer: bytes) -> None:
    """Neither an overloaded server, nor a proxy's error page, nor an answer that breaks off is a fact on an object."""
    with answering(answer) as settings:
        opened = S3Objects(settings)
        ref = ObjectRef("pictures", "a.png")
        with pytest.raises(ObjectStoreOutage):
            await read_all(opened, ref)
        if b"text/html" not in answer or b"200 OK" not in answer:
            with pytest.raises(ObjectStoreOutage):
                await stream_all(opened.stream(ref))
        if b"200 OK" not in answer:
            for other in (opened.head(ref), keys_of(opened, "pictures"), opened.check("pictures")):
                with pytest.raises(ObjectStoreOutage):
                    await other
        await opened.close()


async def test_a_server_that_refuses_connections_does_not_hang() -> None:
    """Both clients call a refused connection a kind of timeout; what is known of it is that nobody was asked."""
    opened = S3Objects(ObjectSettings(endpoint=f"127.0.0.1:{free_port()}", timeout_s=0.5))
    for call in (opened.head(ObjectRef("pictures", "a")), opened.check("pictures"), keys_of(opened, "pictures")):
        with pytest.raises(ObjectStoreOutage) as failure:
            await call
        assert failure.value.code != TIMEOUT
    await opened.close()


async def test_a_server_that_hangs_is_an_outage_after_the_time_limit() -> None:
    """A server that takes the request and never answers ends in an outage, and no retry doubles the time."""
    with silent_port() as port:
        opened = S3Objects(ObjectSettings(endpoint=f"127.0.0.1:{port}", timeout_s=0.5))
        started = time.monotonic()
        with pytest.raises(ObjectStoreOutage):
            await opened.check("pictures")
        assert time.monotonic() - started < 2
        await opened.close()


HALF = http(
    "200 OK", b"half", "Content-Length: 8", 'ETag: "x"', "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"
).replace(b"Connection: close\r\n", b"")


@pytest.mark.parametrize("answer", [b"", HALF], ids=["silent", "half"])
async def test_a_read_that_hangs_is_an_outage_after_the_time_limit(answer: bytes) -> None:
    """Whether nothing comes or the bytes stop half-way, and without a second try."""
    async with stalling(answer) as line:
        opened = S3Objects(ObjectSettings(endpoint=line.endpoint, timeout_s=60, stall_s=0.5))
        started = time.monotonic()
        with pytest.raises(ObjectStoreOutage, match=r"GET pictures/a\.png") as raised:
            await read_all(opened, ObjectRef("pictures", "a.png"))
        assert raised.value.code == TIMEOUT
        assert time.monotonic() - started < 2
        assert line.methods == ["GET"]
        await opened.close()


@pytest.mark.parametrize("answer", [b"", HALF], ids=["silent", "half"])
async def test_a_cancelled_read_closes_its_connection(answer: bytes) -> None:
    """Nothing is left to wait for a server that nobody waits for any more."""
    async with stalling(answer) as line:
        opened = S3Objects(ObjectSettings(endpoint=line.endpoint, timeout_s=60))
        reading = asyncio.create_task(read_all(opened, ObjectRef("pictures", "a.png")))
        await asyncio.wait_for(line.asked.wait(), 10)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.wait_for(line.left.wait(), 10)
        await opened.close()


async def test_streams_that_nobody_takes_hinder_no_other_call(store: S3Objects, bucket: str) -> None:
    """However many clients stall in the middle of a file, objects are found and read beside them."""
    ref = ObjectRef(bucket, "a.png")
    await store.put(ref, bytes(3_000_000), content_type="image/png")
    streams = [store.stream(ref) for _ in range(40)]
    await asyncio.wait_for(asyncio.gather(*map(anext, streams)), 20)
    assert await asyncio.wait_for(store.head(ref), 10) is not None
    assert await asyncio.wait_for(read_all(store, ref), 10) is not None
    assert [len(await stream_all(stream)) > 0 for stream in streams] == [True] * len(streams)


async def test_a_missing_object_costs_one_request(settings: ObjectSettings, bucket: str) -> None:
    """MinIO tells a missing object from a missing bucket in the answer to a HEAD, and the connection is kept."""
    async with relayed(settings.endpoint) as line:
        opened = S3Objects(settings.model_copy(update={"endpoint": line.endpoint}))
        assert await opened.head(ObjectRef(bucket, "missing.png")) is None
        assert line.methods == ["HEAD"]
        with pytest.raises(ObjectStoreOutage, match="NoSuchBucket"):
            await opened.head(ObjectRef(f"{bucket}-missing", "missing.png"))
        assert line.methods == ["HEAD", "HEAD"]
        assert await read_all(opened, ObjectRef(bucket, "missing.png")) is None
        assert line.methods == ["HEAD", "HEAD", "GET"]
        assert line.opened == 1
        await opened.close()


async def test_one_connection_serves_one_call_after_another(settings: ObjectSettings, s3: Minio, bucket: str) -> None:
    """It is kept after each answer that was read to its end, and given up with one that was not."""
    s3.put_object(bucket, "a.png", io.BytesIO(bytes(3_000_000)), 3_000_000)
    ref = ObjectRef(bucket, "a.png")
    async with relayed(settings.endpoint) as line:
        opened = S3Objects(settings.model_copy(update={"endpoint": line.endpoint}))
        for _ in range(3):
            assert await opened.head(ref) is not None
            assert await read_all(opened, ref) is not None
            assert await stream_all(opened.stream(ref, offset=2_999_000))
        assert line.opened == 1
        with pytest.raises(ObjectTooLarge):
            await read_all(opened, ref, max_bytes=1)
        assert await opened.head(ref) is not None
        assert line.opened == 2
        await opened.close()


@pytest.mark.parametrize("to_head", [http("404 Not Found", b""), http("403 Forbidden", b"")], ids=["404", "403"])
async def test_a_server_without_error_codes_in_headers_is_asked_again(to_head: bytes) -> None:
    """Its answer to a HEAD says little, and so the one to a GET counts: missing object, missing bucket, or there."""
    ref = ObjectRef("pictures", "a.png")
    with answering(s3_error("404 Not Found", "NoSuchKey"), to_head=to_head) as settings:
        opened = S3Objects(settings)
        assert await opened.head(ref) is None
        await opened.close()
    with answering(s3_error("404 Not Found", "NoSuchBucket"), to_head=to_head) as settings:
        opened = S3Objects(settings)
        with pytest.raises(ObjectStoreOutage, match="NoSuchBucket"):
            await opened.head(ref)
        await opened.close()
    with answering(HALF, to_head=to_head) as settings:
        opened = S3Objects(settings)
        state = await opened.head(ref)
        assert state is not None
        assert (state.etag, state.size) == ("x", 8)
        await opened.close()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        ("404 Not Found", "NoSuchBucket", ObjectStoreOutage),
        ("403 Forbidden", "AccessDenied", ObjectStoreOutage),
        ("503 Service Unavailable", "SlowDown", ObjectStoreOutage),
        ("503 Service Unavailable", "NoSuchKey", ObjectStoreOutage),
        ("400 Bad Request", "XMinioInvalidObjectName", RequestRefused),
    ],
)
async def test_an_error_code_in_the_header_means_what_it_means_in_a_body(
    status: str, code: str, error: type[Exception]
) -> None:
    """Only a 404 that says NoSuchKey is a missing object; a GET, which would deny it all, isn't sent."""
    to_head = http(status, b"", f"x-minio-error-code: {code}")
    with answering(s3_error("404 Not Found", "NoSuchKey"), to_head=to_head) as settings:
        opened = S3Objects(settings)
        with pytest.raises(error, match=code):
            await opened.head(ObjectRef("pictures", "a.png"))
        await opened.close()


async def test_no_server_is_allowed_to_pack_an_object_on_its_way() -> None:
    """A proxy or server that packs what its client can unpack would change size and bytes."""
    async with stalling(HALF + b"half") as line:
        opened = S3Objects(ObjectSettings(endpoint=line.endpoint, timeout_s=10))
        found = await read_all(opened, ObjectRef("pictures", "a.png"))
        assert found is not None
        assert found[1] == b"halfhalf"
        assert line.header("Accept-Encoding") == ["identity"]
        await opened.close()


async def test_metadata_of_other_programs_is_text_whatever_its_bytes() -> None:
    """Header values are Latin-1, of which any byte is a character, so that none is lost and all can be stored."""
    to_head = HALF.partition(b"half")[0].replace(b"\r\n\r\n", b"\r\nX-Amz-Meta-Name: \xc3\xbc\xff\r\n\r\n")
    with answering(b"", to_head=to_head) as settings:
        opened = S3Objects(settings)
        state = await opened.head(ObjectRef("pictures", "a.png"))
        assert state is not None
        assert state.metadata["name"] == b"\xc3\xbc\xff".decode("latin-1")
        await opened.close()


def tls_minio(folder: Path, authority: Authority, environment: dict[str, str]) -> tuple[ServerProcess, ObjectSettings]:
    """A MinIO of the test's own that speaks TLS, not started yet, and the settings for it.

    Each start has what is in ``environment`` then.
    """
    certificates = folder / "certificates"
    certificates.mkdir()
    certificate, key = authority.issue(folder, "server")
    certificate.rename(certificates / "public.crt")
    key.rename(certificates / "private.key")
    port, credentials = free_port(), new_credentials()
    environment |= {"MINIO_ROOT_USER": credentials.access_key, "MINIO_ROOT_PASSWORD": credentials.secret_key}
    arguments = ("server", "--quiet", "--certs-dir", str(certificates), "--address", f"127.0.0.1:{port}")
    server = ServerProcess(
        "minio",
        Command([str(minio_program()), *arguments, str(folder / "data")], environment),
        log=folder / "minio.log",
        is_ready=lambda: port_answers(port),
    )
    settings = ObjectSettings(
        endpoint=f"127.0.0.1:{port}",
        access_key=credentials.access_key,
        secret_key=SecretStr(credentials.secret_key),
        notification_arns=(),
        secure=True,
        timeout_s=10,
    )
    return server, settings


async def test_tls_is_spoken_to_a_server_that_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and writing trust the authorities of SSL_CERT_FILE, and nobody beside them."""
    authority, stranger = Authority("ours"), Authority("stranger")
    server, settings = tls_minio(tmp_path, authority, {})
    ref = ObjectRef("pictures", "a b+%.png")
    server.start()
    try:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.save(tmp_path, "authority")))
        trusting = S3Objects(settings)
        await until(lambda: trusting.ensure_bucket("pictures"), through_outages=True)
        await trusting.put(ref, b"bytes", content_type="image/png")
        state = await trusting.head(ref)
        assert state is not None
        assert await read_all(trusting, ref) == (state, b"bytes")
        assert await stream_all(trusting.stream(ref, offset=1)) == b"ytes"
        await trusting.close()
        monkeypatch.setenv("SSL_CERT_FILE", str(stranger.save(tmp_path, "stranger")))
        wary = S3Objects(settings)
        for call in (wary.head(ref), read_all(wary, ref), stream_all(wary.stream(ref)), wary.check("pictures")):
            with pytest.raises(ObjectStoreOutage, match=r"(?i)certificate"):
                await call
        await wary.close()
    finally:
        server.stop()


async def test_a_killed_server_is_an_outage_and_its_return_is_noticed(tmp_path: Path) -> None:
    """While it is away every call is an outage; once it is back the same store goes on."""
    stack = Stack(tmp_path, short_lived=True)
    stack.start("minio")
    try:
        store = S3Objects(s3_settings(stack.addresses, timeout_s=5))
        await until(lambda: store.ensure_bucket("pictures"), through_outages=True)
        ref = ObjectRef("pictures", "a.png")
        etag = await store.put(ref, b"x" * 1_000_000, content_type="image/png")
        stream = store.stream(ref)
        await anext(stream)
        stack.process("minio").kill()
        for call in (
            store.head(ref),
            read_all(store, ref),
            stream_all(store.stream(ref)),
            store.put(ref, b"", content_type="image/png"),
            store.delete(ref),
            keys_of(store, "pictures"),
            store.check("pictures"),
            store.ensure_bucket("pictures"),
        ):
            with pytest.raises(ObjectStoreOutage):
                await call
        stack.process("minio").start()
        state = await until(lambda: store.head(ref), lambda found: found is not None, through_outages=True)
        assert state is not None
        assert state.etag == etag
        await store.close()
    finally:
        stack.stop()


def bucket_folder(root: Path) -> Path:
    """Where MinIO keeps the bucket."""
    [found] = [path for path in root.rglob("pictures") if path.is_dir() and ".minio.sys" not in path.parts]
    return found


async def test_a_volume_that_is_away_is_an_outage(tmp_path: Path) -> None:
    """When the bucket's folder vanishes under a running MinIO, no object of it is said to be missing."""
    stack = Stack(tmp_path, short_lived=True)
    stack.start("minio")
    try:
        store = S3Objects(s3_settings(stack.addresses))
        await until(lambda: store.ensure_bucket("pictures"), through_outages=True)
        ref = ObjectRef("pictures", "a.png")
        await store.put(ref, b"x", content_type="image/png")
        volume = bucket_folder(tmp_path)
        volume.rename(tmp_path / "away")
        for call in (store.head(ref), read_all(store, ref), keys_of(store, "pictures"), store.delete(ref)):
            with pytest.raises(ObjectStoreOutage):
                await call
        (tmp_path / "away").rename(volume)
        assert await keys_of(store, "pictures") == ["a.png"]
        await store.close()
    finally:
        stack.stop()


async def test_what_is_encrypted_with_keys_that_we_lack_is_unreadable_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that its owner keeps (SSE-C), and one that the server's key store has lost: its neighbours can be read."""
    authority = Authority("ours")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.save(tmp_path, "authority")))
    keys = {name: f"{name}:{base64.b64encode(name.encode() * 8).decode()}" for name in ("lost", "used")}
    environment = {"MINIO_KMS_SECRET_KEY": keys["lost"]}
    server, settings = tls_minio(tmp_path, authority, environment)
    objects = S3Objects(settings)
    server.start()
    try:
        await until(lambda: objects.ensure_bucket("pictures"), through_outages=True)
        client = Minio(settings.endpoint, settings.access_key, settings.secret_key.get_secret_value())
        for name, encryption in {"plain": None, "owners": SseCustomerKey(b"k" * 32), "lost": SseS3()}.items():
            client.put_object("pictures", name, io.BytesIO(b"bytes"), 5, sse=encryption)
        server.stop()
        environment["MINIO_KMS_SECRET_KEY"] = keys["used"]
        server.start()
        await until(lambda: objects.check("pictures"), through_outages=True)
        codes = {}
        for name in ("owners", "lost"):
            ref = ObjectRef("pictures", name)
            with pytest.raises(ObjectUnreadable) as unreadable:
                await scoped(ref, partial(read_all, objects, ref), objects)
            codes[name] = unreadable.value.code
        assert codes == {"owners": "InvalidRequest", "lost": "kms:KeyNotFound"}
        found = await read_all(objects, ObjectRef("pictures", "plain"))
        assert found is not None
        assert found[1] == b"bytes"
    finally:
        await objects.close()
        server.stop()
