"""Words and pictures that are whole: on a phone, with whatever fonts there are, and where there is nothing to show."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from schemas.records import ObjectRef
from tests.browser.catalog import BUCKET, pictures_of
from tests.browser.conftest import Opened
from tests.browser.serving import KnownUrls, serving
from tests.browser.views import DEVICES, VIEWS
from tests.harness.browser.acting import choose, hits
from tests.harness.browser.watching import Watch

FONTS = {"wide": '"DejaVu Sans", Verdana, sans-serif', "serif": "serif", "mono": "monospace", "as it is": ""}
_NO_WORDS = ".member-key, .place-key, .query-name, .hit-key, .plate, .tile-name, code, .status-list a, .engraving"
"""Keys, digests and addresses."""
_BROKEN = """(NO_WORDS) => {
  const broken = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!parent?.checkVisibility() || parent.closest(NO_WORDS)) continue;
    for (const { 0: word, index } of node.data.matchAll(/[\\p{L}\\p{N}’]+/gu)) {
      const range = document.createRange();
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      const lines = [...range.getClientRects()].filter(({ width }) => width > 0);
      const tops = new Set(lines.map(({ top }) => Math.round(top)));
      if (tops.size > 1) broken.push(word);
    }
  }
  return broken;
}"""
_OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll('.filter-panel .field, .filter-panel .field > :is(input, select)')]
    .filter((each) => each.checkVisibility()).map((each) => [each, each.getBoundingClientRect()]);
  const found = [];
  for (const [a, one] of boxes) for (const [b, other] of boxes) {
    if (a === b || a.contains(b) || b.contains(a)) continue;
    const across = one.left < other.right - 1 && other.left < one.right - 1;
    const down = one.top < other.bottom - 1 && other.top < one.bottom - 1;
    if (across && down) found.push([a.textContent, b.textContent]);
  }
  for (const [field, box] of boxes) {
    const panel = field.closest('.filter-panel').getBoundingClientRect();
    if (box.right > panel.right + 1) found.push([field.textContent, 'leaves the panel']);
  }
  return found;
}"""


def _with_font(page: Page, fonts: str) -> None:
    """As a system would show it that has none of the fonts that the page names."""
    if fonts:
        page.evaluate(
            "(fonts) => ['--sans', '--engraved']"
            ".forEach((each) => document.documentElement.style.setProperty(each, fonts))",
            fonts,
        )


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("view", VIEWS)
def test_no_word_is_broken_on_a_phone(opened: Opened, changed_copy: Path, view: str, font: str) -> None:
    """At 390 pixels no view breaks a word in two or scrolls sideways, whatever font there is."""
    page = opened(reduced_motion="reduce", **DEVICES["phone"])
    VIEWS[view](page, changed_copy)
    _with_font(page, FONTS[font])
    assert page.evaluate(_BROKEN, _NO_WORDS) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [320, 390, 640, 1000, 1280])
@pytest.mark.parametrize("font", FONTS)
def test_filter_fields_keep_apart(opened: Opened, width: int, font: str) -> None:
    """Dates and all other fields lie beside each other, at any width, and within their panel."""
    page = opened("#/browse", viewport={"width": width, "height": 800})
    page.get_by_role("button", name="Filters").click()
    _with_font(page, FONTS[font])
    assert page.evaluate(_OVERLAPS) == []


def test_an_own_tiff_is_shown_beside_what_was_found(opened: Opened, gallery: list[Path], tmp_path: Path) -> None:
    """What this browser can't show is shown as the service sees it: on the card, in a comparison, among the recent."""
    scan = tmp_path / "scan.tif"
    Image.open(gallery[1]).convert("RGB").save(scan)
    page = opened()
    choose(page, scan)
    page.wait_for_function("() => document.querySelector('.query-picture img')?.naturalWidth > 0")
    hits(page, "copy").first.get_by_role("link", name="Compare with").click()
    page.wait_for_function("() => document.querySelector('img.stage-left')?.naturalWidth > 0")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Twinlens, start page").click()
    recent = page.get_by_role("link", name="Search again with").locator("img").element_handle()
    page.wait_for_function("(image) => image.naturalWidth > 0", arg=recent)


def test_a_tiff_by_another_name_is_shown_too(opened: Opened, gallery: list[Path], tmp_path: Path) -> None:
    """What a file is called says nothing: a TIFF that is named .jpg is shown by what it is."""
    scan = tmp_path / "scan.jpg"
    Image.open(gallery[1]).convert("RGB").save(scan, "TIFF")
    page = opened()
    choose(page, scan)
    page.wait_for_function("() => document.querySelector('.query-picture img')?.naturalWidth > 0")


def test_a_search_by_url_shows_its_picture(opened: Opened, gallery: list[Path], tmp_path: Path) -> None:
    """The page may load nothing from other hosts; what the service fetched comes with the answer, in small."""
    known = KnownUrls({"https://pictures.example/sea.jpg": gallery[1].read_bytes()})
    with serving(tmp_path, pictures_of(gallery[:3], ""), urls=known) as site:
        page = opened("#/search?url=https%3A%2F%2Fpictures.example%2Fsea.jpg", url=site.url)
        page.wait_for_function("() => document.querySelector('.query-picture img')?.naturalWidth > 0")
        hits(page, "exact").first.get_by_role("link", name="Compare with").click()
        page.wait_for_function("() => document.querySelector('img.stage-left')?.naturalWidth > 0")


def test_a_deleted_picture_has_a_word_in_a_comparison(
    opened: Opened, watch: Watch, gallery: list[Path], tmp_path: Path
) -> None:
    """A hit whose file has gone since is not said to be of a format that can't be shown."""
    watch.expect("Failed to load resource")
    with serving(tmp_path, pictures_of(gallery[:3], "")) as site:
        page = opened(url=site.url)
        choose(page, gallery[1])
        expect(hits(page, "exact").first).to_be_visible()
        gone = {"status": 404, "content_type": "application/problem+json", "body": '{"code": "not_found"}'}
        page.route("**/v1/images/*", lambda route: route.fulfill(**gone))
        page.route("**/v1/images/*/*", lambda route: route.fulfill(status=404, body=""))
        hits(page, "exact").first.get_by_role("link", name="Compare with").click()
        expect(page.get_by_role("dialog").get_by_text("This picture was deleted from its bucket.")).to_be_visible()


def test_a_stored_tiff_is_shown_in_its_details(opened: Opened, gallery: list[Path], tmp_path: Path) -> None:
    """A TIFF of the catalog has a thumbnail where the file itself can't be shown."""
    data = io.BytesIO()
    Image.open(gallery[1]).convert("RGB").save(data, "TIFF")
    (tmp_path / "scan.tif").write_bytes(data.getvalue())
    with serving(tmp_path, pictures_of([tmp_path / "scan.tif"], "")) as site:
        image = ObjectRef(BUCKET, "scan.tif").image_id
        page = opened(f"#/browse?open={image}", url=site.url)
        page.wait_for_function("() => document.querySelector('.detail-picture img')?.naturalWidth > 0")
