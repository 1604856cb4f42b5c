"""Comparing a hit with the picture that was searched with, and the details of one picture."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opened
from tests.harness.browser.acting import choose, hits


def compared(page: Page, picture: Path) -> None:
    """Search with a picture and open the comparison with its best copy."""
    choose(page, picture)
    hits(page, "copy").first.get_by_role("link").first.click()
    expect(page.get_by_role("dialog", name="Compare two pictures")).to_be_visible()


def test_the_slider_follows_the_pointer_and_the_arrow_keys(opened: Opened, changed_copy: Path) -> None:
    """The boundary of the two pictures goes where the pointer drags it, and moves with the arrow keys."""
    page = opened()
    compared(page, changed_copy)
    slider = page.get_by_role("slider", name="Slide between")
    expect(slider).to_be_focused()
    expect(slider).to_have_value("50")
    box = page.locator(".stage-frame").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 60, steps=5)
    page.mouse.up()
    expect(slider).to_have_value("20")
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_value("21")
    assert page.locator(".stage-left").evaluate("(image) => getComputedStyle(image).clipPath") != "none"
    handle = page.locator(".stage-handle").bounding_box()
    assert handle is not None
    assert abs(handle["x"] - (box["x"] + box["width"] * 0.21)) < 3


def test_both_pictures_of_a_comparison_load(opened: Opened, changed_copy: Path) -> None:
    """The upload is shown from this browser, the hit from the service; both have pixels."""
    page = opened()
    compared(page, changed_copy)
    for side in (".stage-left", ".stage-right"):
        expect(page.locator(side)).to_have_js_property("complete", value=True)
        assert page.locator(side).evaluate("(image) => image.naturalWidth") > 0


def test_a_comparison_has_other_ways_and_a_mirror(opened: Opened, changed_copy: Path) -> None:
    """Side by side and difference are a click away, and the upload can be mirrored."""
    page = opened()
    compared(page, changed_copy)
    page.get_by_role("radio", name="Side by side").check()
    left, right = page.locator(".stage-left").bounding_box(), page.locator(".stage-right").bounding_box()
    assert left is not None
    assert right is not None
    assert left["x"] + left["width"] < right["x"]
    page.get_by_role("radio", name="Difference").check()
    assert page.locator(".stage-left").evaluate("(image) => getComputedStyle(image).mixBlendMode") == "difference"
    page.get_by_role("button", name="Mirror").click()
    expect(page.get_by_role("button", name="Mirror")).to_have_attribute("aria-pressed", "true")


def test_a_verified_copy_says_how_it_was_changed(opened: Opened, changed_copy: Path) -> None:
    """The comparison says in words what was done to the picture, and how much of each they share."""
    page = opened()
    compared(page, changed_copy)
    words = page.locator(".match-words")
    expect(words).to_contain_text(re.compile(r"Verified copy: (49|50) % of the area"))
    expect(words).to_contain_text(re.compile(r"(99|100) % of yours and (49|50) % of the one found"))


def test_the_crop_lies_where_it_was_cut_from(opened: Opened, changed_copy: Path) -> None:
    """Under the slider and as a difference, the crop lies on its place in the original, unless that is switched off."""
    page = opened()
    compared(page, changed_copy)

    def place() -> object:
        # In one step, for the dialog may still be moving.
        return page.evaluate(
            """() => {
              const [frame, left] = [".stage-frame", ".stage-left"].map((name) =>
                document.querySelector(name).getBoundingClientRect());
              return [(left.x - frame.x) / frame.width, left.width / frame.width,
                (left.y - frame.y) / frame.height, left.height / frame.height];
            }"""
        )

    assert place() == pytest.approx([0.18, 0.7, 0.12, 0.7], abs=0.02)
    page.get_by_role("radio", name="Difference").check()
    assert place() == pytest.approx([0.18, 0.7, 0.12, 0.7], abs=0.02)
    page.get_by_role("button", name="Align").click()
    expect(page.get_by_role("button", name="Align")).to_have_attribute("aria-pressed", "false")
    assert place() == pytest.approx([0, 1, 0, 1], abs=0.02)


def test_the_match_is_outlined_on_both_pictures(opened: Opened, changed_copy: Path) -> None:
    """Side by side, the part that they share is drawn on the original, and the whole original around the crop."""
    page = opened()
    compared(page, changed_copy)
    page.get_by_role("radio", name="Side by side").check()
    for side in ("left", "right"):
        expect(page.locator(f".stage-outline-{side}")).to_be_visible()
    shares = page.locator(".stage-outline-right polygon").last.evaluate(
        """(polygon) => {
          const { width, height } = polygon.ownerSVGElement.viewBox.baseVal;
          return [...polygon.points].flatMap(({ x, y }) => [x / width, y / height]);
        }"""
    )
    assert shares == pytest.approx([0.18, 0.12, 0.88, 0.12, 0.88, 0.82, 0.18, 0.82], abs=0.02)


def test_next_and_previous_walk_over_the_hits_and_back_closes(opened: Opened, changed_copy: Path) -> None:
    """N and P step through the hits; one step back in the history closes the comparison."""
    page = opened()
    compared(page, changed_copy)
    keys = page.locator(".compare-side .keys")
    expect(keys).to_contain_text("stained-glass-001")
    page.keyboard.press("n")
    expect(keys).not_to_contain_text("stained-glass-001")
    page.keyboard.press("p")
    expect(keys).to_contain_text("stained-glass-001")
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(hits(page, "copy").first).to_be_visible()


def test_a_comparison_is_a_deep_link(opened: Opened, changed_copy: Path) -> None:
    """A reload shows the same comparison; closing it leaves the results."""
    page = opened()
    compared(page, changed_copy)
    page.reload()
    dialog = page.get_by_role("dialog", name="Compare two pictures")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page).not_to_have_url(re.compile("compare="))
    expect(hits(page, "copy").first).to_be_visible()


def test_details_name_everything_that_is_known(opened: Opened) -> None:
    """The details of a picture have its key, digests, metadata and links; the address brings them back."""
    page = opened("#/browse?prefix=gallery/&order=key")
    page.locator(".tile-link").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", level=2)).to_have_text(re.compile(r"^brush-\d+\.jpg|^brush"))
    for text in ("SHA-256", "MD5", "Photographer", "Ada", "gallery/"):
        expect(dialog.get_by_text(text).first).to_be_visible()
    with page.expect_download() as download:
        dialog.get_by_role("link", name="Download").click()
    assert download.value.path().stat().st_size > 1000
    page.reload()
    expect(page.get_by_role("dialog").get_by_text("SHA-256")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_details_say_why_a_picture_was_rejected(opened: Opened) -> None:
    """A rejected file's details give the reason in words."""
    page = opened("#/browse?state=rejected")
    page.get_by_role("link", name="notes.jpg").click()
    expect(page.get_by_role("dialog").get_by_text("The file holds no picture.")).to_be_visible()
