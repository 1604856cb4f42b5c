"""Searching: how a picture gets in, and what is shown of the answer."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pillow_heif
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from ops.copies import TRANSFORMS
from tests.browser.catalog import pictures_of
from tests.browser.conftest import Opened
from tests.browser.rules import RULES
from tests.browser.serving import KnownUrls, serving
from tests.harness.browser.acting import choose, drop, hits, paste, paste_text
from tests.harness.browser.watching import Watch


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


def test_a_picture_that_the_browser_cannot_show_is_shown_all_the_same(opened: Opened, tmp_path: Path) -> None:
    """Of a HEIC picture the service makes what is shown as the query."""
    path = tmp_path / "phone.heic"
    pillow_heif.register_heif_opener()
    Image.radial_gradient("L").convert("RGB").save(path, "HEIF")
    page = opened()
    choose(page, path)
    shown = page.get_by_role("img", name="The picture you searched with").first
    expect(shown).to_be_visible()
    page.wait_for_function("(image) => image.complete && image.naturalWidth === 256", arg=shown.element_handle())


@pytest.mark.parametrize("how", ["text/html", "text/plain"])
def test_a_picture_within_the_address_itself_is_searched_with(opened: Opened, changed_copy: Path, how: str) -> None:
    """A data: URL is a picture, pasted as it is or as the `src` of an `img`."""
    address = f"data:image/jpeg;base64,{base64.b64encode(changed_copy.read_bytes()).decode()}"
    page = opened()
    paste_text(page, how, f'<p><a href="/x"><img alt="" src="{address}"></a></p>' if how == "text/html" else address)
    expect(hits(page, "copy")).not_to_have_count(0)


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
    expect(page.locator(".hit-name").first).to_be_attached()
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


def test_a_part_of_a_picture_is_drawn_and_searched_with(opened: Opened, gallery: list[Path], tmp_path: Path) -> None:
    """A frame drawn over a collage, from its left half to beyond its edge, finds the picture that lies there."""
    page = opened()
    choose(page, _beside_each_other(gallery[7], gallery[1], tmp_path))
    page.get_by_role("button", name="A part of it").click()
    box = page.locator(".region-frame").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2 + 2, box["y"] + 1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 40, box["y"] + box["height"] + 40, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Search with this part").click()
    expect(page.locator(".query-name")).to_contain_text("Part of")
    expect(hits(page, "copy").first).to_contain_text("stained-glass-001")


def test_where_no_copy_is_found_the_parts_are_offered(opened: Opened, tmp_path: Path) -> None:
    """What is looked for may be small within the picture: its parts are searched on request; the address says so."""
    Image.effect_noise((600, 450), 60).save(tmp_path / "noise.png")
    page = opened()
    choose(page, tmp_path / "noise.png")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing alike")
    with page.expect_response(re.compile(r"/v1/search\?.*parts=true")) as answered:
        page.get_by_role("button", name="Search its parts, too").click()
    assert answered.value.ok
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing alike")
    expect(page.get_by_text("Is what you look for only a part")).to_have_count(0)
    assert "parts=true" in page.url


def test_a_part_can_be_set_with_the_keyboard(opened: Opened, gallery: list[Path], tmp_path: Path) -> None:
    """The edges are sliders, which stop short of each other."""
    page = opened()
    choose(page, _beside_each_other(gallery[1], gallery[7], tmp_path))
    page.get_by_role("button", name="A part of it").click()
    page.get_by_role("slider", name="Left edge").press("Home")
    page.get_by_role("slider", name="Top edge").press("Home")
    page.get_by_role("slider", name="Bottom edge").press("End")
    right = page.get_by_role("slider", name="Right edge")
    right.press("Home")
    expect(right).to_have_value("5")
    right.fill("50")
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    page.get_by_role("button", name="Search with this part").press("Enter")
    expect(hits(page, "copy").first).to_contain_text("stained-glass-001")


def _beside_each_other(left: Path, right: Path, folder: Path) -> Path:
    one, other = (Image.open(path).convert("RGB").resize((480, 360)) for path in (left, right))
    both = Image.new("RGB", (960, 360))
    both.paste(one, (0, 0))
    both.paste(other, (480, 0))
    both.save(folder / "collage.png")
    return folder / "collage.png"


def test_a_likely_copy_is_headed_as_one(opened: Opened, watch: Watch, gallery: list[Path], tmp_path: Path) -> None:
    """A copy that can't be verified, since its file is out of reach, is neither certain nor most likely another one."""
    watch.expect("Failed to load resource")
    with serving(tmp_path, pictures_of(gallery[:8], "")) as site:
        copy = tmp_path / "copy.jpg"
        copy.write_bytes(TRANSFORMS["jpeg-10"](gallery[1].read_bytes()))
        site.objects.outage = True
        page = opened(url=site.url)
        choose(page, copy)
        expect(page.get_by_role("heading", level=1)).to_have_text("Found 1 likely copy")
        expect(hits(page, "likely")).to_contain_text("stained-glass-001")
