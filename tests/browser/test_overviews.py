"""Duplicates and status."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import Opened


def test_exact_duplicates_are_grouped(opened: Opened) -> None:
    """Files with the same bytes form a group that says how much room they waste."""
    page = opened("#/duplicates")
    groups = page.get_by_role("article")
    expect(groups).to_have_count(2)
    three = groups.filter(has_text="3 pictures")
    expect(three.get_by_role("link")).to_have_count(3)
    expect(three).to_contain_text("again/ünïcode & +%25 <b>.jpg")
    expect(three).to_contain_text("more than needed")


def test_near_duplicates_are_grouped_and_compared(opened: Opened) -> None:
    """Changed copies form groups; a member is compared with the first one, and the address is a deep link."""
    page = opened("#/duplicates")
    page.get_by_role("radio", name="Nearly the same").check()
    expect(page).to_have_url(re.compile("kind=near"))
    group = page.get_by_role("article").filter(has_text="copies/mirrored.jpg")
    group.get_by_role("link", name="Compare").first.click()
    dialog = page.get_by_role("dialog", name="Compare two pictures")
    expect(dialog.locator(".big-score")).to_have_text(re.compile(r"^\d\d\.\d$"))
    page.reload()
    expect(dialog.locator(".compare-side .verdict")).to_have_text("Copy")


def test_status_counts_and_names_what_is_wrong(opened: Opened) -> None:
    """Counts, the pending object and the rejected ones with their reasons are listed."""
    page = opened("#/status")
    expect(page.locator(".figure", has_text="Rejected").locator(".figure-value")).to_have_text("2")
    expect(page.locator(".figure", has_text="Pending").locator(".figure-value")).to_have_text("1")
    expect(page.locator(".figure", has_text="Pending")).to_contain_text("the oldest waits for")
    expect(page.get_by_role("link", name="incoming/just-now.jpg")).to_be_visible()
    expect(page.locator(".reasons")).to_contain_text("Not an image")
    expect(page.get_by_text("The picture ends too early.")).to_be_visible()


def test_the_throughput_chart_shows_the_last_hour_and_is_renewed(opened: Opened) -> None:
    """There is a bar for each minute with a description in words, and new figures are asked for by themselves."""
    page = opened("#/status")
    chart = page.get_by_role("img", name=re.compile("Pictures indexed per minute"))
    expect(chart).to_be_visible()
    expect(page.locator(".chart-bar")).to_have_count(60)
    with page.expect_response(lambda answer: "throughput" in answer.url):
        pass
