"""Slow uplinks: little is sent, once, and one can see it and stop it."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Request, expect

from tests.browser.catalog import Picture, pictures_of
from tests.browser.conftest import Opened
from tests.browser.serving import Site, serving
from tests.harness.browser.acting import choose, hits
from tests.harness.browser.watching import Watch

UPLINK = 250_000
"""Bytes a second."""


def _photograph(painted: Path) -> bytes:
    """A painted picture as a camera would make it: 4,000 pixels wide, with noise, some 7 MB."""
    big = np.asarray(Image.open(painted).convert("RGB").resize((4000, 3000)), dtype=np.int16)
    noise = np.random.default_rng(7).integers(-24, 25, big.shape, dtype=np.int16)
    out = io.BytesIO()
    Image.fromarray(np.clip(big + noise, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=93)
    return out.getvalue()


@pytest.fixture(scope="module")
def photograph(gallery: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large file, which is in the catalog, too."""
    path = tmp_path_factory.mktemp("camera") / "IMG_0001.jpg"
    path.write_bytes(_photograph(gallery[1]))
    assert path.stat().st_size > 5_000_000
    return path


@pytest.fixture(scope="module")
def slow(gallery: list[Path], photograph: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service that has the large file among others."""
    pictures = [Picture("camera/IMG_0001.jpg", photograph.read_bytes()), *pictures_of(gallery[:12], "gallery/")]
    with serving(tmp_path_factory.mktemp("slow"), pictures) as running:
        yield running


def _throttle(page: Page) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    limits = {"offline": False, "latency": 20, "downloadThroughput": -1, "uploadThroughput": UPLINK}
    session.send("Network.emulateNetworkConditions", limits)


def _searches(page: Page) -> list[Request]:
    made: list[Request] = []

    def note(request: Request) -> None:
        if "/v1/search" in request.url:
            made.append(request)

    page.on("request", note)
    return made


def _sent(request: Request) -> int:
    """Bytes of the body."""
    return int(request.all_headers()["content-length"])


def _is_upload(request: Request) -> bool:
    return "multipart" in request.headers.get("content-type", "")


def test_a_photograph_over_a_slow_uplink_finds_its_file(opened: Opened, slow: Site, photograph: Path) -> None:
    """Of 7 MB a smaller version is sent, in a fraction of the time, and the file itself is found by its digest; the
    card tells the picture's own size.
    """
    page = opened(url=slow.url)
    _throttle(page)
    made = _searches(page)
    begun = time.monotonic()
    choose(page, photograph)
    expect(hits(page, "exact").first).to_contain_text("IMG_0001")
    assert time.monotonic() - begun < photograph.stat().st_size / UPLINK
    [request] = made
    assert 100_000 < _sent(request) < photograph.stat().st_size / 4
    assert hashlib.sha256(photograph.read_bytes()).hexdigest() in request.url
    expect(page.locator(".query-text")).to_contain_text("4,000 × 3,000")


def test_the_slider_and_the_filters_send_nothing_again(opened: Opened, slow: Site, photograph: Path) -> None:
    """The lowest score and the order ask nobody; another filter, and a reset of it, name the upload."""
    page = opened(url=slow.url)
    made = _searches(page)
    choose(page, photograph)
    expect(hits(page, "exact").first).to_be_visible()
    page.get_by_role("button", name="Filters").click()
    slider = page.get_by_role("slider", name="Lowest score")
    slider.fill("100")
    slider.dispatch_event("change")
    expect(page.locator(".verdict-group .tile")).to_have_count(1)
    page.get_by_label("Order").select_option("largest")
    expect(page.locator(".verdict-group .tile")).to_have_count(1)
    assert len(made) == 1
    slider.fill("0")
    slider.dispatch_event("change")
    page.get_by_label("Key begins with").fill("gallery/")
    page.get_by_label("Key begins with").press("Enter")
    expect(hits(page, "exact")).to_have_count(0)
    expect(page.locator(".hit-key").filter(has_text="stained-glass-001")).to_be_visible()
    assert [_is_upload(request) for request in made] == [True, False]


def test_a_forgotten_upload_is_sent_again(opened: Opened, slow: Site, photograph: Path, watch: Watch) -> None:
    """After a restart of the service, or in another of its processes, the page sends the picture once more."""
    watch.expect("Failed to load resource")
    page = opened(url=slow.url)
    made = _searches(page)
    choose(page, photograph)
    expect(hits(page, "exact").first).to_be_visible()
    page.route("**/v1/search?*", lambda route: route.continue_(post_data=b'{"queries": [{"upload": "u-gone"}]}')
               if not _is_upload(route.request) else route.continue_())  # fmt: skip
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("Key begins with").fill("camera/")
    page.get_by_label("Key begins with").press("Enter")
    expect(page.locator(".tile")).to_have_count(1)
    assert [_is_upload(request) for request in made] == [True, False, True]


def test_sending_shows_how_far_it_is_and_can_be_stopped(opened: Opened, slow: Site, tmp_path: Path) -> None:
    """What can't be scaled down here, as a TIFF, is sent whole: with a bar, in bytes, and a button that stops it."""
    path = tmp_path / "scan.tif"
    noise = np.random.default_rng(1).integers(0, 256, (1000, 1400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    page = opened(url=slow.url)
    _throttle(page)
    choose(page, path)
    expect(page.get_by_role("progressbar", name="Sending the picture")).to_be_visible()
    expect(page.get_by_text("of 4.2 MB")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("heading", name="The search was stopped")).to_be_visible()
    expect(page.get_by_role("button", name="Search again")).to_be_visible()


@pytest.mark.parametrize("size", [0, 3, 55, 56, 64, 1000, 100_003])
def test_digests_are_right_without_the_browsers_help(opened: Opened, size: int) -> None:
    """Over plain http browsers lend pages no SHA-256: ours agrees with Python's, of any length."""
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    page = opened("#/status")
    digest = page.evaluate(
        "async (hex) => (await import('./js/sha256.js'))"
        ".sha256Here(Uint8Array.from(hex.match(/../g) ?? [], (each) => parseInt(each, 16)))",
        data.hex(),
    )
    assert digest == hashlib.sha256(data).hexdigest()


def test_a_transparent_picture_is_sent_as_it_is(opened: Opened, slow: Site, tmp_path: Path) -> None:
    """What lies beneath a transparent picture is the service's to say, so that nothing is flattened before."""
    path = tmp_path / "logo.png"
    noise = np.random.default_rng(2).integers(0, 256, (500, 500, 4), dtype=np.uint8)
    Image.fromarray(noise, "RGBA").save(path)
    page = opened(url=slow.url)
    made = _searches(page)
    choose(page, path)
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing alike")
    assert _sent(made[0]) > path.stat().st_size
