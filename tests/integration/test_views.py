"""Views of contents on the real servers: crops are found, and nothing is left behind or missing."""

from __future__ import annotations

import asyncio
import io
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from ops.gallery import make_gallery
from tests.harness.live import QUICK, WITHOUT_RECONCILE, Live, until
from tests.harness.reading import read_catalog, read_vector_ids, read_view_ids
from tests.harness.stack.stack import Addresses
from tests.integration.planted_worker import KILLED_BEFORE_WHOLES, with_planted

pytestmark = pytest.mark.timeout(900)

PICTURES = 12
SHARE = 0.3


@pytest.fixture
def live(all_servers: Addresses, twinlens_env: dict[str, str], tmp_path: Path) -> Iterator[Live]:
    """An installation with four views of each content, set up, and healed by the handlers and the sweep alone."""
    views = {"TWINLENS_INDEX__VIEWS": "quarters", "TWINLENS_INDEX__MAX_ATTEMPTS": "50"}
    live = Live(all_servers, {**twinlens_env, **QUICK, **WITHOUT_RECONCILE, **views}, tmp_path)
    live.application.setup()
    yield live
    live.stop()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Pictures that the project paints, by key."""
    return {file.name: file.read_bytes() for file in make_gallery(tmp_path_factory.mktemp("gallery"), PICTURES)}


def crop(data: bytes) -> bytes:
    """So much of each side, from within the first quarter."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    left, top = round(0.15 * picture.width), round(0.15 * picture.height)
    part = picture.crop((left, top, left + round(SHARE * picture.width), top + round(SHARE * picture.height)))
    out = io.BytesIO()
    part.save(out, "PNG")
    return out.getvalue()


def first_hits(live: Live, pictures: dict[str, bytes]) -> dict[str, str | None]:
    """The key that a crop of each picture finds first."""
    found: dict[str, str | None] = {}
    with httpx.Client(base_url=live.api_url, timeout=60) as client:
        for key, data in pictures.items():
            options = {"bucket": live.bucket, "fresh": "true"}
            answer = client.post(
                "/v1/search", params=options, content=crop(data), headers={"Content-Type": "image/png"}
            )
            assert answer.status_code == httpx.codes.OK, answer.text
            results = answer.json()["results"]
            found[key] = results[0]["image"]["key"] if results else None
    return found


def test_crops_are_found_and_nothing_is_left(live: Live, pictures: dict[str, bytes]) -> None:
    """Crops of 30 % find their pictures; a worker killed half-way is followed up; a delete leaves no row anywhere."""
    live.start("ingest", "api")
    doomed = live.with_program(with_planted(KILLED_BEFORE_WHOLES)).application.processes["index"]
    doomed.launch()
    for key, data in pictures.items():
        live.put(key, data)
    until(lambda: doomed.exit_code is not None, "the worker has stored views")
    assert doomed.exit_code == -signal.SIGKILL, doomed.log_end()
    left = read_view_ids(live.place)
    assert all(left.values())
    assert not read_vector_ids(live.place)
    live.start("index")
    settled = live.settles()
    assert settled.total == 0, settled.as_json()
    views = read_view_ids(live.place)
    assert len(views) == 4
    assert all(len(ids) == PICTURES for ids in views.values())
    hits = first_hits(live, pictures)
    right = sum(key == found for key, found in hits.items())
    assert right >= PICTURES - 1, hits
    for key in pictures:
        live.delete(key)
    settled = live.settles()
    assert settled.total == 0, settled.as_json()
    assert not asyncio.run(read_catalog(live.place)).vector_ids
    assert not read_vector_ids(live.place)
    assert not any(read_view_ids(live.place).values())
