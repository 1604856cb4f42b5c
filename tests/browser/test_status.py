"""The status page tells what is so, also when nobody answers; what stands between it and Twinlens is told from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Route, expect

from query_api.routes.stats import twinlens_version
from tests.browser.catalog import Picture, pictures_of
from tests.browser.conftest import Opened
from tests.browser.rules import RULES
from tests.browser.serving import Site, serving
from tests.harness.browser.acting import choose
from tests.harness.browser.proxies import proxied
from tests.harness.browser.watching import Watch

STATUS_LINE = "Failed to load resource"


def test_a_server_that_is_down_is_not_live(opened: Opened, watch: Watch, gallery: list[Path], tmp_path: Path) -> None:
    """When the server goes away, the page says so within a moment, and of when its figures are."""
    watch.expect(STATUS_LINE, "ERR_CONNECTION_REFUSED")
    with serving(tmp_path, pictures_of(gallery[:3], "")) as brief:
        page = opened("#/status", url=brief.url)
        expect(page.locator(".live")).to_have_text("Live")
    expect(page.locator(".live")).to_have_text(
        re.compile(r"^The server does not answer; the figures are of \d\d:\d\d:\d\d$")
    )
    expect(page.locator(".live-on")).to_have_count(0)
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


def test_dependencies_lag_and_version_are_shown(opened: Opened, site: Site, watch: Watch) -> None:
    """Each server that a search needs is named with what it answers, how old the oldest is that waits, which Twinlens
    this is.
    """
    watch.expect(STATUS_LINE)
    page = opened("#/status")
    parts = page.get_by_role("list", name="What it depends on").get_by_role("listitem")
    expect(parts).to_have_text(["Databaseanswers", "Vector indexanswers", "Object storeanswers", "Modelanswers"])
    expect(page.locator(".figure", has_text="Lag").locator(".figure-value")).not_to_have_text("none")
    expect(page.get_by_text(f"Twinlens {twinlens_version()}")).to_be_visible()
    site.vectors.outage = True
    try:
        expect(parts.nth(1)).to_have_text("Vector indexaway")
        expect(parts.first).to_have_text("Databaseanswers")
    finally:
        site.vectors.outage = False
    expect(parts.nth(1)).to_have_text("Vector indexanswers")


def test_counts_are_in_the_right_number(opened: Opened, gallery: list[Path], tmp_path: Path) -> None:
    """One duplicate is one file."""
    pictures = [*pictures_of(gallery[:2], ""), Picture("again.jpg", gallery[0].read_bytes())]
    with serving(tmp_path, pictures) as site:
        page = opened("#/status", url=site.url)
        expect(page.get_by_text("1 file is a duplicate")).to_be_visible()


def _answers(status: int) -> Callable[[Route], None]:
    return lambda route: route.fulfill(status=status, content_type="text/html", body="<h1>nginx</h1>")


@pytest.mark.parametrize(("status", "title"), [
    (413, "A proxy on the way refuses so large a picture"),
    (502, "Twinlens does not answer"),
    (418, "Something on the way answered 418"),
])  # fmt: skip
def test_a_proxys_own_answer_is_told_from_ours(
    opened: Opened, watch: Watch, changed_copy: Path, status: int, title: str
) -> None:
    """What a proxy answers for itself is not taken for an answer of Twinlens."""
    watch.expect(STATUS_LINE)
    page = opened()
    page.route("**/v1/search?*", _answers(status))
    choose(page, changed_copy)
    expect(page.get_by_role("heading", name=title)).to_be_visible()


def test_a_real_proxys_limit_is_explained(
    opened: Opened, watch: Watch, site: Site, tmp_path: Path, changed_copy: Path
) -> None:
    """Nginx's own 413, as its default of 1 MB gives for a file that can't be scaled down."""
    watch.expect(STATUS_LINE, "ERR_CONNECTION_RESET")
    with proxied("nginx", site.url, tmp_path, **{"client_max_body_size 64m;": "client_max_body_size 1k;"}) as url:
        page = opened(url=url)
        choose(page, changed_copy)
        expect(page.get_by_role("heading", name="A proxy on the way refuses so large a picture")).to_be_visible()
        page.close()


def test_a_proxy_that_stands_alone_is_told(opened: Opened, watch: Watch, tmp_path: Path) -> None:
    """Nginx's own 502, when there is no Twinlens behind it any more; the status page says that it is down."""
    watch.expect(STATUS_LINE)
    with ExitStack() as proxies:
        with serving(tmp_path, []) as brief:
            url = proxies.enter_context(proxied("nginx", brief.url, tmp_path))
            page = opened("#/status", url=url)
            expect(page.locator(".live")).to_have_text("Live")
        expect(page.locator(".live")).to_contain_text("The server does not answer")
        expect(page.locator(".notice", has_text="says that it can’t reach it (502)")).to_be_visible()
