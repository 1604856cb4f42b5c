"""The query service as people meet it: a process over HTTP, on the real servers, with read-only credentials."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from ops.copies import TRANSFORMS
from schemas.records import ObjectRef
from tests.harness.query_service import Installation, Service, installation, painted, service
from tests.harness.stack.fixtures import Servers


@pytest.fixture(scope="module")
def library(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A bucket of painted pictures, indexed."""
    with installation(
        servers.need("minio", "mariadb", "milvus"), painted(tmp_path_factory.mktemp("gallery"), 24)
    ) as library:
        yield library


@pytest.fixture(scope="module")
def api(library: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on it."""
    with service(library.environment, tmp_path_factory.mktemp("api")) as running:
        yield running


def _id(library: Installation, key: str) -> str:
    return ObjectRef(library.bucket, key).image_id


def test_copies_find_their_original_first(api: Service, library: Installation) -> None:
    """Recompressed, halved, mirrored, cropped, grey and captioned copies find their original first."""
    found = asked = 0
    for key, data in list(library.pictures.items())[:8]:
        for transform in TRANSFORMS.values():
            answer = api.client.post("/v1/search?limit=3", files={"file": ("q.jpg", transform(data))})
            assert answer.status_code == 200, answer.text
            asked += 1
            found += key in answer.json()["results"][0]["keys"]
    assert asked == 8 * len(TRANSFORMS)
    assert found >= 0.98 * asked


def test_every_key_leads_to_its_bytes(api: Service, library: Installation) -> None:
    """Whatever the key, the image is found by it, and file and range are the object's bytes."""
    for key, data in list(library.pictures.items())[:8]:
        [image] = api.client.get("/v1/images", params={"key": key}).json()["results"]
        assert image["id"] == _id(library, key)
        assert api.client.get(image["file_url"]).content == data
        part = api.client.get(image["file_url"], headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, data[100:200])
        assert Image.open(io.BytesIO(api.client.get(image["thumbnail_url"]).content)).format == "JPEG"


def test_exact_hit_lists_both_keys(api: Service, library: Installation) -> None:
    """The same bytes under two keys are one exact hit with both of them, and an exact group of duplicates."""
    copy, original = library.duplicate
    body = api.client.post("/v1/search?fresh=true", files={"file": library.pictures[original]}).json()
    first = body["results"][0]
    assert (first["verdict"], first["score"], set(first["keys"])) == ("exact", 100, {original, copy})
    assert body["model"] == "sscd"
    [group] = api.client.get("/v1/duplicates").json()["results"]
    assert {image["key"] for image in group["images"]} == {original, copy}


def test_near_duplicates_walk_the_whole_catalog(api: Service, library: Installation) -> None:
    """The walk over near duplicates looks at every content once, however many pages it takes."""
    scanned, token = 0, ""
    while True:
        page = api.client.get(f"/v1/duplicates?kind=near&limit=1{token}").json()
        scanned += page["scanned"]
        if page["next_page_token"] is None:
            break
        token = f"&page_token={page['next_page_token']}"
    assert scanned == len(library.pictures)


def test_counts_are_those_of_the_servers(api: Service, library: Installation) -> None:
    """Objects and contents are counted by SQL, vectors by Milvus."""
    n = len(library.pictures)
    body = api.client.get("/v1/stats").json()
    assert [body[name] for name in ("objects", "contents", "vectors", "indexed", "pending", "rejected")] == [
        n + 2, n, n, n + 1, 0, 1,
    ]  # fmt: skip


def test_search_by_id_and_filters(api: Service, library: Installation) -> None:
    """An indexed image is searched by its vector; filters hold on the real servers too."""
    key = list(library.pictures)[6]
    body = api.client.get(f"/v1/images/{_id(library, key)}/similar", params={"exclude_exact": False}).json()
    assert body["results"][0]["image"]["key"] == key
    assert body["results"][0]["score"] > 99.9
    narrowed = api.client.get(f"/v1/images/{_id(library, key)}/similar", params={"prefix": "ü/"}).json()
    assert [hit["image"]["key"] for hit in narrowed["results"]] == ["ü/ß.png"]


def _bomb(side: int) -> bytes:
    """A valid PNG of one colour: some 400 kB that would fill gigabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    row = bytes(1 + (side + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _bad_pictures() -> list[tuple[bytes, int]]:
    noise = io.BytesIO()
    Image.effect_noise((1200, 1200), 90).save(noise, "JPEG")
    return [
        (b"", 422),
        (b"a letter " * 1000, 422),
        (noise.getvalue()[: len(noise.getvalue()) // 4], 422),
        (_bomb(60_000), 422),
        (b"\xff\xd8\xff" + b"\0" * 26 * 1024 * 1024, 413),
        (b"\xff\xd8\xff" + b"\0" * 70 * 1024 * 1024, 413),
    ]


def test_bad_input_leaves_memory_flat(api: Service) -> None:
    """Bombs, oversized and broken files are refused, and after many of them the process is no larger."""
    bad = _bad_pictures()

    def send(one: tuple[bytes, int]) -> None:
        answer = api.client.post("/v1/search", files={"file": ("p.jpg", one[0])})
        assert answer.status_code == one[1], answer.text
        assert answer.headers["content-type"] == "application/problem+json"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, bad))
        before = api.resident_bytes()
        list(pool.map(send, bad * 4))
    # An allocator keeps some of what it once had; four rounds must not cost four times one round.
    assert api.resident_bytes() - before < 150 * 1024 * 1024
    assert api.client.get("/readyz").status_code == 200


def _until(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.05)


def _half_a_request(api: Service) -> socket.socket:
    connection = socket.create_connection(api.host_and_port)
    connection.sendall(
        b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\nabc"
    )
    return connection


def test_stalled_clients_do_not_stop_others(api: Service, library: Installation) -> None:
    """While many clients send nothing more, others are answered as before."""
    stalled = [_half_a_request(api) for _ in range(60)]
    try:
        image_id = _id(library, next(iter(library.pictures)))
        for _ in range(5):
            assert api.client.get(f"/v1/images/{image_id}").status_code == 200
        data = next(iter(library.pictures.values()))
        assert api.client.post("/v1/search", files={"file": data}).status_code == 200
    finally:
        for connection in stalled:
            connection.close()


def test_a_client_that_leaves_stops_costing(api: Service, library: Installation) -> None:
    """Searches whose clients have gone are given up, and nothing of them stays in flight."""
    before = api.metric("twinlens_api_disconnects_total")
    data = max(library.pictures.values(), key=len)
    lines = (
        "POST /v1/search?fresh=true HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: image/jpeg",
        f"Content-Length: {len(data)}",
    )
    head = "\r\n".join((*lines, "", "")).encode()
    for _ in range(12):
        with socket.create_connection(api.host_and_port) as connection:
            connection.sendall(head + data)
    _until(lambda: api.metric("twinlens_api_disconnects_total") > before)
    # The request that asks for the metrics is in flight itself.
    _until(lambda: api.metric("twinlens_api_in_flight") == 1)


def test_overload_is_shed_and_passes(library: Installation, tmp_path: Path) -> None:
    """With more than fits, some are refused at once with 503 and Retry-After, the rest answered; then all are again."""
    small = {"TWINLENS_API__MAX_WAITING": "2", "TWINLENS_API__DECODE_THREADS": "1", "TWINLENS_MODEL__THREADS": "1"}
    data = max(library.pictures.values(), key=len)
    with service({**library.environment, **small}, tmp_path) as api:
        statuses: list[int] = []
        gate = threading.Barrier(24)

        def send() -> None:
            gate.wait(30)
            answer = api.client.post("/v1/search", files={"file": data})
            statuses.append(answer.status_code)
            if answer.status_code == 503:
                assert int(answer.headers["retry-after"]) >= 1

        with ThreadPoolExecutor(24) as pool:
            for done in [pool.submit(send) for _ in range(24)]:
                done.result()
        assert set(statuses) == {200, 503}
        assert api.client.post("/v1/search", files={"file": data}).status_code == 200
        assert api.metric("twinlens_api_shed_total") == statuses.count(503)


def test_starts_and_stays_up_while_its_servers_are_away(library: Installation, tmp_path: Path) -> None:
    """With no server reachable the service starts, is alive, is not ready, says why, and logs each outage once."""
    away = {
        "TWINLENS_DATABASE__URL": "mysql+asyncmy://a:b@127.0.0.1:9/x",
        "TWINLENS_VECTORS__URI": "http://127.0.0.1:9",
        "TWINLENS_OBJECTS__ENDPOINT": "127.0.0.1:9",
    }
    with service({**library.environment, **away}, tmp_path, wait_for="/healthz") as api:
        answer = api.client.get("/readyz")
        assert answer.status_code == 503
        assert {name for name, said in answer.json()["checks"].items() if said != "ok"} == {
            "catalog", "vectors", "objects", "model",
        }  # fmt: skip
        for _ in range(5):
            body = api.client.get("/v1/images").json()
            assert (body["status"], body["code"], body["dependency"]) == (503, "unavailable", "catalog")
        assert api.client.get("/healthz").status_code == 200
    log = (tmp_path / "api.log").read_text(encoding="utf-8")
    assert log.count('"dependency_down"') <= 3


def test_stops_in_good_order(library: Installation, tmp_path: Path) -> None:
    """SIGTERM lets a search under way finish before the process ends."""
    data = next(iter(library.pictures.values()))
    with service(library.environment, tmp_path) as api:
        with ThreadPoolExecutor(1) as pool:
            started = api.metric("twinlens_api_in_flight")
            running = pool.submit(httpx.post, f"{api.url}/v1/search?fresh=true", files={"file": data}, timeout=60)
            _until(lambda: running.done() or api.metric("twinlens_api_in_flight") > started)
            api.process.stop()
            assert running.result().status_code == 200
        assert api.process.pid is None
