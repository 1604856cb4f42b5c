"""Searching: how a picture gets in, and what is shown of the answer."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.acting import choose, drop, hits, paste
from tests.browser.catalog import pictures_of
from tests.browser.conftest import Opened
from tests.browser.serving import KnownUrls, serving
from tests.browser.watching import Watch


def test_a_chosen_crop_finds_its_original_first(opened: Opened, changed_copy: Path) -> None:
    """A file chosen with the button is searched with; the original it was cut from is the best copy."""
    page = opened()
    choose(page, changed_copy)
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"^Found \d cop"))
    expect(hits(page, "copy").first).to_contain_text("stained-glass-001")
    expect(page.get_by_text("my crop.jpg")).to_be_visible()


def test_a_dropped_file_is_searched_with_on_every_view(opened: Opened, changed_copy: Path) -> None:
    """A file can be dropped anywhere, also while browsing."""
    page = opened("#/browse")
    expect(page.locator(".tile").first).to_be_visible()
    drop(page, changed_copy)
    expect(hits(page, "copy").first).to_contain_text("stained-glass-001")


def test_a_pasted_picture_is_searched_with(opened: Opened, changed_copy: Path) -> None:
    """A picture in the clipboard is searched with as it is pasted."""
    page = opened()
    paste(page, changed_copy)
    expect(hits(page, "copy").first).to_contain_text("stained-glass-001")


def test_the_same_file_is_told_from_its_copies_with_all_its_keys(opened: Opened, gallery: list[Path]) -> None:
    """An exact hit is a group of its own, and the comparison names every key of those bytes, markup in keys inert."""
    page = opened()
    choose(page, gallery[0])
    exact = hits(page, "exact")
    expect(exact).to_have_count(1)
    expect(exact).to_contain_text("100")
    exact.get_by_role("link").first.click()
    keys = page.locator(".keys li")
    expect(keys).to_have_count(3)
    expect(keys.filter(has_text="again/ünïcode & +%25 <b>.jpg")).to_be_visible()


def test_an_example_is_one_click_away(opened: Opened) -> None:
    """The start page offers pictures of the catalog; a click searches with one."""
    page = opened()
    example = page.get_by_role("link", name="Search with the example").nth(1)
    expect(example).to_be_visible()
    page.get_by_role("button", name="Others").click()
    example.click()
    expect(page).to_have_url(re.compile(r"#/search\?image=[0-9a-f]{32}$"))
    expect(hits(page, "similar").first).to_be_visible()


def test_find_similar_goes_on_from_a_hit(opened: Opened, changed_copy: Path) -> None:
    """A hit is the next search, and going back shows the first one again without another upload."""
    page = opened()
    choose(page, changed_copy)
    hits(page, "copy").first.get_by_role("link", name="Find pictures similar to").click()
    expect(page.locator(".query-name")).to_contain_text("stained-glass-001")
    expect(hits(page, "similar").first).to_be_visible()
    page.go_back()
    expect(page.locator(".query-name")).to_have_text("my crop.jpg")


def test_a_search_survives_a_reload(opened: Opened, changed_copy: Path) -> None:
    """The address of an upload's results works again in the same browser after a reload."""
    page = opened()
    choose(page, changed_copy)
    expect(hits(page, "copy").first).to_be_visible()
    page.reload()
    expect(page.locator(".query-name")).to_have_text("my crop.jpg")
    expect(hits(page, "copy").first).to_contain_text("stained-glass-001")


def test_recent_pictures_can_be_forgotten(opened: Opened, changed_copy: Path) -> None:
    """What was searched with is offered again on the start page until it is forgotten."""
    page = opened()
    choose(page, changed_copy)
    expect(hits(page, "copy").first).to_be_visible()
    page.get_by_role("link", name="Twinlens, start page").click()
    again = page.get_by_role("link", name="Search again with my crop.jpg")
    expect(again).to_be_visible()
    page.get_by_role("button", name="Forget them").click()
    expect(again).to_have_count(0)


def test_filters_narrow_the_results_and_live_in_the_address(opened: Opened, changed_copy: Path) -> None:
    """A key prefix and a lowest score hold for the hits, survive a reload, and are taken off with their chips."""
    page = opened()
    choose(page, changed_copy)
    expect(hits(page, "similar").first).to_be_visible()
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("Key begins with").fill("copies/")
    page.get_by_label("Key begins with").press("Enter")
    expect(page.get_by_role("button", name="Remove the filter")).to_have_count(1)
    expect(page.locator(".hit-name").filter(has_not_text=re.compile("half-size|grey|mirrored"))).to_have_count(0)
    page.reload()
    expect(page.locator(".hit-name").first).to_be_visible()
    expect(page.locator(".hit-name").filter(has_not_text=re.compile("half-size|grey|mirrored"))).to_have_count(0)
    page.get_by_role("button", name="Remove the filter").click()
    expect(hits(page, "copy").filter(has_text="stained-glass-001")).to_be_visible()


def test_no_hit_is_said_with_a_way_on(opened: Opened, changed_copy: Path) -> None:
    """Filters that leave nothing give an explanation and a button that clears them."""
    page = opened()
    choose(page, changed_copy)
    expect(hits(page, "copy").first).to_be_visible()
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("Key begins with").fill("nowhere/")
    page.get_by_label("Key begins with").press("Enter")
    expect(page.get_by_role("heading", name="No twin in the catalog")).to_be_visible()
    page.get_by_role("button", name="Clear the filters").click()
    expect(hits(page, "copy").first).to_be_visible()


def test_several_dropped_pictures_wait_for_their_turn(opened: Opened, gallery: list[Path]) -> None:
    """The first of several chosen pictures is searched with; the others are among the recent ones."""
    page = opened()
    choose(page, gallery[0], gallery[1])
    expect(hits(page, "exact").first).to_be_visible()
    page.get_by_role("link", name="Twinlens, start page").click()
    expect(page.get_by_role("link", name="Search again with")).to_have_count(2)


def test_an_address_is_searched_with_where_the_server_fetches_them(
    opened: Opened, watch: Watch, gallery: list[Path], tmp_path: Path
) -> None:
    """The address field appears when the server has it switched on; a page that can't be fetched is explained."""
    watch.expect("Failed to load resource")
    known = KnownUrls({"https://pictures.example/sea.jpg": gallery[1].read_bytes()})
    with serving(tmp_path, pictures_of(gallery[:3], ""), urls=known) as fetching:
        page = opened(url=fetching.url)
        field = page.get_by_label("Address of a picture")
        field.fill("https://pictures.example/sea.jpg")
        field.press("Enter")
        expect(hits(page, "exact").first).to_contain_text("stained-glass-001")
        page.go_back()
        field.fill("https://pictures.example/gone.jpg")
        field.press("Enter")
        expect(page.get_by_text("Save the picture and drop it here instead.")).to_be_visible()
