"""Where a picture is: its places, orders, several pictures at once, lists as files, duplicates."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.browser.catalog import Picture, pictures_of
from tests.browser.conftest import Opened
from tests.browser.rules import RULES
from tests.browser.serving import serving
from tests.harness.browser.acting import choose, hits


def _saved(page: Page, kind: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Export as {kind}").click()
    return Path(download.value.path()).read_text(encoding="utf-8-sig")


def _keys(within: Page | Locator) -> list[str]:
    return [each.split("/")[-1] for each in within.locator(".hit-key").all_inner_texts()]


def test_find_similar_shows_the_other_places_of_the_same_file(opened: Opened, gallery: list[Path]) -> None:
    """Byte-identical twins are what one looks for first; a picture that lies at one place only isn't its own twin."""
    page = opened("#/browse?prefix=again/first")
    page.get_by_role("link", name="first.jpg").focus()
    page.keyboard.press("m")
    expect(page.get_by_role("heading", level=1)).to_contain_text("2 other places of the same file")
    expect(hits(page, "exact")).to_have_count(1)
    hits(page, "exact").get_by_role("link", name="Compare with").click()
    expect(page.get_by_role("dialog").locator(".keys li")).to_have_count(3)
    page = opened(f"#/browse?prefix=gallery/{gallery[7].name}")
    page.locator(".tile-link").first.focus()
    page.keyboard.press("m")
    expect(page.locator(".verdict-group").first).to_be_visible()
    expect(hits(page, "exact")).to_have_count(0)


def test_every_place_can_be_opened_and_copied(opened: Opened) -> None:
    """Details list the other places; each key and its link can be copied, and the link leads there."""
    page = opened("#/browse?prefix=again/first", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="first.jpg").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Also at 2 other places")).to_be_visible()
    places = dialog.locator(".elsewhere li")
    expect(places).to_have_count(2)
    odd = places.filter(has_text="ünïcode")
    odd.get_by_role("button", name="Copy the key").click()
    assert page.evaluate("navigator.clipboard.readText()") == "again/ünïcode & +%25 <b>.jpg"
    odd.get_by_role("button", name="Copy the link").click()
    address = page.evaluate("navigator.clipboard.readText()")
    other = opened("#" + urlsplit(address).fragment)
    expect(other.get_by_role("dialog").get_by_role("heading", level=2)).to_have_text("ünïcode & +%25 <b>.jpg")
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


def test_all_places_are_one_click_from_a_hit(opened: Opened, gallery: list[Path]) -> None:
    """The number behind a hit's name leads to all objects with its bytes."""
    page = opened()
    choose(page, gallery[0])
    hits(page, "exact").get_by_role("link", name="All 3 places of").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("3 pictures")


def test_hits_are_sorted_by_age_and_size(opened: Opened, gallery: list[Path]) -> None:
    """Best, oldest and largest first, within each kind; the address holds the order."""
    page = opened()
    choose(page, gallery[0])
    expect(hits(page, "copy")).to_have_count(2)
    similar = page.locator('.verdict-group[data-verdict="copy"]')
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("Order").select_option("largest")
    assert "sort=largest" in page.url
    expect(similar.locator(".hit-key").first).to_have_text("grey.jpg")
    expect(similar.locator(".hit-key").nth(1)).to_have_text("half-size.jpg")
    page.get_by_label("Order").select_option("oldest")
    expect(similar.locator(".hit-key").first).to_have_text("grey.jpg")
    page.reload()
    expect(page.get_by_label("Order")).to_have_value("oldest")


def test_several_pictures_search_together(opened: Opened, gallery: list[Path]) -> None:
    """Each hit says which of the pictures it is like, a comparison shows that one, and each can be searched alone."""
    page = opened()
    choose(page, gallery[0], gallery[5])
    expect(hits(page, "exact")).to_have_count(2)
    expect(hits(page, "exact").filter(has_text=gallery[5].name).locator(".hit-query")).to_contain_text("2")
    expect(page.locator(".query-name")).to_have_text("2 pictures")
    hits(page, "copy").filter(has_text="mirrored").get_by_role("link", name="Compare with").click()
    expect(page.get_by_role("dialog").locator(".stage-labels")).to_contain_text(gallery[5].name)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.evaluate("scrollTo(0, 0)")
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    page.get_by_role("link", name=f"Search with {gallery[5].name} alone").click()
    expect(page.locator(".query-name")).to_have_text(gallery[5].name)
    page.get_by_role("link", name="Twinlens, start page").click()
    expect(page.get_by_role("link", name="Search again with")).to_have_count(2)


def test_results_are_exported(opened: Opened, gallery: list[Path], tmp_path: Path) -> None:
    """CSV has a row for each place of what was found, and no key that a spreadsheet would run; JSON has the hits."""
    pictures = [*pictures_of(gallery[:4], ""), Picture("=cmd(),1.jpg", gallery[1].read_bytes())]
    with serving(tmp_path, pictures) as site:
        page = opened(url=site.url)
        choose(page, gallery[1])
        expect(hits(page, "exact").first).to_be_visible()
        rows = list(csv.DictReader(io.StringIO(_saved(page, "CSV"))))
        assert [row["key"] for row in rows[:2]] == ["'=cmd(),1.jpg", gallery[1].name]
        assert {row["verdict"] for row in rows[:2]} == {"exact"}
        assert rows[0]["url"].startswith(site.url)
        found = json.loads(_saved(page, "JSON"))
        assert found["searched_with"] == [gallery[1].name]
        assert found["results"][0]["keys"] == ["=cmd(),1.jpg", gallery[1].name]


def test_duplicates_have_totals_filters_and_an_export(opened: Opened) -> None:
    """How many groups and bytes there are, groups by the beginning of a key, by score, and all of them as a file."""
    page = opened("#/duplicates")
    expect(page.locator(".totals")).to_contain_text("2 groups, 5 pictures")
    rows = list(csv.DictReader(io.StringIO(_saved(page, "CSV"))))
    assert len(rows) == 5
    assert {row["group"] for row in rows} == {"1", "2"}
    assert len(json.loads(_saved(page, "JSON"))) == 2
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_role("slider", name="Lowest score")).to_have_count(0)
    page.get_by_label("Key begins with").fill("again/third")
    page.get_by_label("Key begins with").press("Enter")
    expect(page.get_by_role("article")).to_have_count(1)
    expect(page.locator(".totals")).to_contain_text("1 group, 2 pictures")
    page.get_by_role("radio", name="Nearly the same").check()
    page.get_by_role("button", name="Remove the filter").click()
    expect(page.get_by_role("article").first).to_be_visible()
    slider = page.get_by_role("slider", name="Lowest score")
    slider.fill("100")
    with page.expect_response(lambda answer: "min_score=100" in answer.url) as answered:
        slider.dispatch_event("change")
    assert answered.value.ok
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


def test_a_groups_members_are_walked_through(opened: Opened) -> None:
    """A comparison within a group goes on to its next member."""
    page = opened("#/duplicates?kind=near")
    group = page.get_by_role("article").filter(has_text="copies/half-size.jpg")
    group.get_by_role("link", name="Compare").first.click()
    dialog = page.get_by_role("dialog", name="Compare two pictures")
    expect(dialog.locator(".big-score")).to_be_visible()
    before = page.url
    dialog.get_by_role("button", name="Next picture").click()
    expect(page).not_to_have_url(before)
    expect(dialog.locator(".big-score")).to_be_visible()
