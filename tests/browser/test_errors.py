"""Everything that can go wrong is told in words, with a way on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from playwright.sync_api import expect

from schemas.settings import ApiSettings
from tests.browser.catalog import pictures_of
from tests.browser.conftest import Opened
from tests.browser.serving import Site, serving
from tests.harness.browser.acting import choose, drop, hits
from tests.harness.browser.watching import Watch

STATUS_LINE = "Failed to load resource"
"""What Chromium logs for each answer of 400 and above."""


def test_a_file_that_is_no_picture_is_explained(opened: Opened, watch: Watch, tmp_path: Path) -> None:
    """Text renamed to .jpg gives the server's reason and what to do, not a code."""
    watch.expect(STATUS_LINE)
    path = tmp_path / "letter.jpg"
    path.write_text("Dear reader")
    page = opened()
    choose(page, path)
    expect(page.get_by_role("heading", name="This picture can’t be read")).to_be_visible()
    expect(page.get_by_text("JPEG, PNG, WebP")).to_be_visible()
    expect(page.get_by_role("button", name="Another picture")).to_be_visible()


def test_a_file_over_the_limit_is_not_even_sent(opened: Opened, tmp_path: Path) -> None:
    """A file larger than the server takes is refused in the page, with both sizes."""
    path = tmp_path / "huge.jpg"
    path.write_bytes(bytes(27_000_000))
    page = opened()
    choose(page, path)
    expect(page.get_by_role("alert")).to_contain_text("27.0 MB")
    expect(page.get_by_role("alert")).to_contain_text("26.2 MB")


def test_a_dropped_address_is_answered_when_addresses_are_off(opened: Opened) -> None:
    """Dragging a picture from another site brings its address only; the page says what to do instead."""
    page = opened()
    page.evaluate(
        """() => {
          const dataTransfer = new DataTransfer();
          dataTransfer.setData('text/uri-list', 'https://example.org/cat.jpg');
          for (const kind of ['dragenter', 'drop'])
            document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.get_by_role("alert")).to_contain_text("Save the picture and drop the file instead")


def test_an_unknown_picture_is_said_to_be_gone(opened: Opened, watch: Watch) -> None:
    """An old link to a deleted picture explains itself, in the details and as a search."""
    watch.expect(STATUS_LINE)
    page = opened("#/browse?open=" + "0" * 32)
    expect(page.get_by_role("heading", name="This picture isn’t here any more")).to_be_visible()
    page = opened("#/search?image=" + "0" * 32)
    expect(page.get_by_role("heading", name="This picture isn’t here any more")).to_be_visible()


def test_an_upload_of_another_browser_is_explained(opened: Opened) -> None:
    """The address of someone's upload holds no picture for anybody else, and says so."""
    page = opened("#/search?upload=0123456789ab")
    expect(page.get_by_role("heading", name="This picture isn’t in this browser any more")).to_be_visible()


def test_a_pending_picture_cannot_be_searched_with_yet(opened: Opened, watch: Watch) -> None:
    """A search by a picture that is on its way into the index says that it takes a moment."""
    watch.expect(STATUS_LINE)
    page = opened("#/browse?state=pending")
    page.get_by_role("link", name="just-now.jpg").click()
    expect(page.get_by_role("dialog").get_by_text("on its way into the index")).to_be_visible()
    image = page.url.rsplit("open=", 1)[1]
    page.goto(page.url.split("#")[0] + f"#/search?image={image}")
    expect(page.get_by_role("heading", name="This picture isn’t searchable yet")).to_be_visible()


def test_an_outage_is_waited_out_by_itself(opened: Opened, site: Site, watch: Watch, changed_copy: Path) -> None:
    """While the vector index is away the page counts down the server's Retry-After; then the hits appear unasked."""
    watch.expect(STATUS_LINE)
    page = opened()
    site.vectors.outage = True
    try:
        choose(page, changed_copy)
        expect(page.get_by_role("heading", name="A part of Twinlens is away")).to_be_visible()
        expect(page.get_by_text("Trying again in")).to_be_visible()
    finally:
        site.vectors.outage = False
    expect(hits(page, "copy").first).to_be_visible()


def test_too_many_requests_are_slowed_down_not_lost(
    opened: Opened, watch: Watch, gallery: list[Path], tmp_path: Path
) -> None:
    """Over the rate limit the page waits as long as it is told, and goes on."""
    watch.expect(STATUS_LINE)
    api = ApiSettings(rate_limit="4/second")
    with serving(tmp_path, pictures_of(gallery[:3], ""), api) as limited:
        page = opened("#/status", url=limited.url)
        expect(page.get_by_role("heading", name="That was a little fast")).to_be_visible()
        page.get_by_role("link", name="Browse").click()
        expect(page.locator(".tile").first).to_be_visible()


def test_a_server_that_went_away_is_noticed(opened: Opened, watch: Watch, gallery: list[Path], tmp_path: Path) -> None:
    """When nobody answers at all, the page says that, and keeps what it shows usable."""
    watch.expect(STATUS_LINE, "ERR_CONNECTION_REFUSED")
    with serving(tmp_path, pictures_of(gallery[:3], "")) as brief:
        page = opened("#/browse", url=brief.url)
        expect(page.locator(".tile")).to_have_count(3)
    page.get_by_role("link", name="Duplicates").click()
    expect(page.get_by_role("heading", name="Twinlens does not answer")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_an_empty_catalog_says_what_to_do(opened: Opened, tmp_path: Path) -> None:
    """With nothing indexed, the start page and the browser name the bucket to put pictures into."""
    with serving(tmp_path, []) as nothing:
        page = opened(url=nothing.url)
        expect(page.get_by_text("put pictures into the bucket “pictures”")).to_be_visible()
        page.get_by_role("link", name="Browse").click()
        expect(page.get_by_role("heading", name="The catalog is empty")).to_be_visible()


def test_an_api_key_is_asked_for_and_then_all_works(
    opened: Opened, watch: Watch, gallery: list[Path], tmp_path: Path
) -> None:
    """With API keys on, a wrong key is refused in the dialog; the right one opens data and pictures alike."""
    watch.expect(STATUS_LINE)
    api = ApiSettings(key_hashes={"page": hashlib.sha256(b"the right key").hexdigest()})
    with serving(tmp_path, pictures_of(gallery[:3], ""), api) as locked:
        page = opened("#/browse", url=locked.url)
        dialog = page.get_by_role("dialog", name="API key")
        dialog.get_by_label("API key").fill("a wrong key")
        dialog.get_by_role("button", name="Go on").click()
        expect(dialog.get_by_role("alert")).to_have_text("This key is not known here.")
        dialog.get_by_label("API key").fill("the right key")
        dialog.get_by_role("button", name="Go on").click()
        expect(page.locator("img.loaded")).to_have_count(3)


@pytest.mark.parametrize("onto", ["header", "main"])
def test_an_empty_file_is_explained(opened: Opened, watch: Watch, tmp_path: Path, onto: str) -> None:
    """An empty file, dropped anywhere, is answered like any other unreadable picture."""
    watch.expect(STATUS_LINE)
    path = tmp_path / "empty.png"
    path.write_bytes(b"")
    page = opened()
    drop(page, path, onto)
    expect(page.get_by_role("heading", name="This picture can’t be read")).to_be_visible()
