"""Browsing: endless scroll, filters, deep links."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import MANY, Opened
from tests.browser.serving import Site

_SCROLL = """async () => {
  const frames = [];
  let last = performance.now();
  for (let step = 0; step < 60; step += 1) {
    scrollBy(0, 400);
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - last);
    last = performance.now();
  }
  return frames.sort((a, b) => a - b)[Math.floor(frames.length / 2)];
}"""


def scroll_until(page: Page, loaded: int) -> None:
    """Scroll on until so many pictures were loaded."""
    page.wait_for_function(
        """(loaded) => {
          scrollTo(0, document.documentElement.scrollHeight);
          const last = [...document.querySelectorAll('.grid li')].at(-1);
          return last && Number(last.dataset.index) + 1 >= loaded;
        }""",
        arg=loaded,
        polling=50,
    )


def test_ten_thousand_pictures_scroll_with_few_elements(opened: Opened, many: Site) -> None:
    """However far one scrolls, the document holds only the rows near the window, and scrolling stays smooth."""
    page = opened("#/browse", url=many.url)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{MANY:,} pictures")
    scroll_until(page, 1200)
    assert page.locator(".grid li").count() < 150
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator('.grid li[data-index="0"]')).to_be_visible()
    assert page.evaluate(_SCROLL) < 100


def test_scrolling_reaches_the_end_once(opened: Opened) -> None:
    """The whole catalog can be scrolled to its end, which is said; every picture is there once."""
    page = opened("#/browse")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(re.compile(r"^\d+ pictures$"))
    total = int(heading.inner_text().split()[0])
    scroll_until(page, total)
    expect(page.get_by_text("That is all.")).to_be_visible()
    assert page.locator(".grid li").last.get_attribute("aria-posinset") == str(total)


def test_boxes_keep_their_place_while_pictures_load(opened: Opened) -> None:
    """Nothing jumps: a tile has its final size before its picture is there."""
    page = opened("#/browse?state=indexed")
    tile = page.locator('.grid li[data-index="0"] .plate')
    before = tile.bounding_box()
    expect(page.locator('.grid li[data-index="0"] img.loaded')).to_be_visible()
    assert tile.bounding_box() == before


def test_filters_narrow_the_catalog_and_clear_again(opened: Opened) -> None:
    """Type, prefix and state narrow what is listed; the address holds them through a reload and back."""
    page = opened("#/browse")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(re.compile("pictures"))
    everything = heading.inner_text()
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("State").select_option("rejected")
    expect(heading).to_have_text("2 pictures")
    expect(page.get_by_text("Rejected", exact=True).first).to_be_visible()
    page.reload()
    expect(heading).to_have_text("2 pictures")
    page.get_by_role("button", name="Remove the filter: Rejected").click()
    expect(heading).to_have_text(everything)
    page.go_back()
    expect(heading).to_have_text("2 pictures")


def test_dates_and_sizes_filter(opened: Opened) -> None:
    """Days and kilobytes from the filter panel reach the API as moments and bytes."""
    page = opened("#/browse?created_to=2026-06-28")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(re.compile(r"^\d+ pictures?$"))
    older = int(heading.inner_text().split()[0])
    page.goto(page.url.replace("created_to", "created_from"))
    page.reload()
    expect(heading).not_to_have_text("Browse")
    assert 0 < older < int(heading.inner_text().split()[0]) + older
    page.goto(page.url.split("#")[0] + "#/browse?size_max=1000&state=rejected")
    expect(heading).to_have_text("2 pictures")


def test_going_back_finds_the_place_again(opened: Opened, many: Site) -> None:
    """After a look at another view the catalog is as it was, scrolled as it was."""
    page = opened("#/browse", url=many.url)
    expect(page.locator(".tile").first).to_be_visible()
    scroll_until(page, 400)
    page.evaluate("scrollTo(0, 9000)")
    expect(page.locator('.grid li[data-index="0"]')).to_have_count(0)
    page.get_by_role("link", name="Status").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Status")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{MANY:,} pictures")
    assert page.evaluate("scrollY") == 9000


def test_nothing_matches_is_said(opened: Opened) -> None:
    """A filter without matches explains itself and offers the way back."""
    page = opened("#/browse?prefix=nowhere/")
    expect(page.get_by_role("heading", name="No picture matches")).to_be_visible()
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.locator(".tile").first).to_be_visible()
