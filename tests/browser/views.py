"""The page's views, each with the way to it, and the devices that it is looked at on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.harness.browser.acting import choose, hits

DEVICES: Mapping[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1440, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
    "wide": {"viewport": {"width": 2400, "height": 1200}},
}


Way = Callable[[Page, Path], None]


def start(page: Page, _picture: Path) -> None:
    """The start page with its examples."""
    expect(page.locator(".example img").first).to_be_visible()
    for example in page.locator(".example img").all()[:3]:
        expect(example).to_be_visible()
        page.wait_for_function("(image) => image.naturalWidth > 0", arg=example.element_handle())


def results(page: Page, picture: Path) -> None:
    """The hits of an upload."""
    choose(page, picture)
    expect(hits(page, "copy").first.locator("img.loaded")).to_be_visible()


def filters(page: Page, picture: Path) -> None:
    """The results with the filters open and one set."""
    results(page, picture)
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("Type").select_option("image/jpeg")
    expect(page.get_by_role("button", name="Remove the filter")).to_be_visible()
    expect(hits(page, "copy").first.locator("img.loaded")).to_be_visible()


def compare(page: Page, picture: Path) -> None:
    """A comparison."""
    results(page, picture)
    hits(page, "copy").first.get_by_role("link").first.click()
    expect(page.locator(".stage-right")).to_have_js_property("complete", value=True)


def browse(page: Page, _picture: Path) -> None:
    """The catalog, with pending and rejected objects."""
    page.get_by_role("link", name="Browse").click()
    expect(page.locator("img.loaded").nth(4)).to_be_visible()


def details(page: Page, picture: Path) -> None:
    """One picture's details."""
    browse(page, picture)
    page.locator(".tile-link:has(img)").first.click()
    expect(page.get_by_role("dialog").get_by_text("SHA-256")).to_be_visible()
    expect(page.locator(".detail-picture img")).to_have_js_property("complete", value=True)


def duplicates(page: Page, _picture: Path) -> None:
    """Near duplicates."""
    page.get_by_role("link", name="Duplicates").click()
    page.get_by_role("radio", name="Nearly the same").check()
    expect(page.locator("article img.loaded").first).to_be_visible()


def status(page: Page, _picture: Path) -> None:
    """Counts and chart."""
    page.get_by_role("link", name="Status").click()
    expect(page.locator(".chart-bar").first).to_be_attached()


def nothing(page: Page, _picture: Path) -> None:
    """An empty list."""
    page.goto(page.url.split("#")[0] + "#/browse?prefix=nowhere/")
    expect(page.get_by_role("heading", name="No picture matches")).to_be_visible()


VIEWS: Mapping[str, Way] = {
    way.__name__: way for way in (start, results, filters, compare, browse, details, duplicates, status, nothing)
}
