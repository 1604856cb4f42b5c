"""The page below a path of another host, behind the reverse proxies that docs/operations.md has examples for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from schemas.settings import ApiSettings
from tests.browser.catalog import pictures_of
from tests.browser.conftest import Opened
from tests.browser.serving import Site, serving
from tests.harness.browser.acting import choose, hits
from tests.harness.browser.proxies import PREFIX, proxied
from tests.harness.browser.watching import Watch

KEY = "the right key"


@pytest.fixture(params=["nginx", "caddy"])
def below(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[str]:
    """The address of the shared service below a prefix."""
    with proxied(request.param, site.url, tmp_path) as url:
        yield url


def test_everything_works_below_a_prefix(below: str, opened: Opened, changed_copy: Path) -> None:
    """Every picture of the start page, an upload, a comparison, details, a download and the catalog, behind a proxy;
    nothing is asked for outside the prefix.
    """
    page = opened(url=below)
    expect(page.locator(".example img").first).to_be_visible()
    for example in page.locator(".example img").all():
        page.wait_for_function("(image) => image.complete && image.naturalWidth > 0", arg=example.element_handle())
    choose(page, changed_copy)
    hits(page, "copy").first.get_by_role("link").first.click()
    page.wait_for_function("() => document.querySelector('.stage-right')?.naturalWidth > 0")
    page.get_by_role("dialog").get_by_role("link", name="Details").click()
    page.wait_for_function("() => document.querySelector('.detail-picture img')?.naturalWidth > 0")
    download = page.get_by_role("link", name="Download").get_attribute("href")
    assert download is not None
    assert page.request.get(download).ok
    page.goto(f"{below}browse/")
    expect(page.locator("img.loaded").first).to_be_visible()
    assert page.url.startswith(f"{below}#/browse")


def test_answers_lead_back_through_the_proxy(below: str, opened: Opened) -> None:
    """Links in answers can be followed as they are."""
    page = opened(url=below)
    [image] = page.request.get(f"{below}v1/images?limit=1&state=indexed").json()["results"]
    assert image["file_url"].startswith(f"{PREFIX}v1/images/")
    assert page.request.get(below.removesuffix(PREFIX) + image["thumbnail_url"]).ok


def test_the_documentation_works_below_a_prefix(below: str, opened: Opened) -> None:
    """`/docs` shows the API and tries a route out where it is; the prefix without its slash leads to the page."""
    page = opened("docs", url=below)
    page.locator("#operations-session-get_session_v1_session_get").get_by_role("button").first.click()
    page.get_by_role("button", name="Try it out").click()
    with page.expect_response(f"{below}v1/session") as answered:
        page.get_by_role("button", name="Execute").click()
    assert answered.value.ok
    assert page.request.get(below.rstrip("/")).url == below


def test_a_key_is_for_the_prefix(opened: Opened, watch: Watch, gallery: list[Path], tmp_path: Path) -> None:
    """Signing in below a prefix opens data and pictures, and the cookie is sent nowhere else on that host."""
    watch.expect("Failed to load resource")
    api = ApiSettings(key_hashes={"page": hashlib.sha256(KEY.encode()).hexdigest()})
    with serving(tmp_path, pictures_of(gallery[:3], ""), api) as site, proxied("nginx", site.url, tmp_path) as below:
        page = opened("#/browse", url=below)
        dialog = page.get_by_role("dialog", name="API key")
        dialog.get_by_label("API key").fill(KEY)
        dialog.get_by_role("button", name="Go on").click()
        expect(page.locator("img.loaded")).to_have_count(3)
        [cookie] = page.context.cookies()
        assert cookie.get("path") == PREFIX.rstrip("/")
        page.close()


def test_the_page_shows_its_pictures_under_every_name(opened: Opened, gallery: list[Path], tmp_path: Path) -> None:
    """With `api.public_url` set, answers name that host; the page, asked by another name, loads from its own."""
    api = ApiSettings(public_url="https://pictures.example/all")
    with serving(tmp_path, pictures_of(gallery[:3], ""), api) as site:
        page = opened("#/browse", url=site.url)
        expect(page.locator("img.loaded")).to_have_count(3)
        page.locator(".tile-link").first.click()
        page.wait_for_function("() => document.querySelector('.detail-picture img')?.naturalWidth > 0")
        page.close()
