"""For everybody: axe-core, keyboard only, themes, phones; each view leaves a screenshot in ``build/screenshots``."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import SCREENSHOTS, Opened
from tests.browser.rules import RULES
from tests.browser.views import DEVICES, VIEWS
from tests.harness.browser.acting import hits

CASES = [
    (view, theme, device)
    for device in DEVICES
    for theme in ("light", "dark")
    for view in (VIEWS if device != "wide" else ("browse", "results"))
]


@pytest.mark.parametrize(("view", "theme", "device"), CASES, ids=map("-".join, CASES))
def test_axe_finds_nothing(opened: Opened, changed_copy: Path, view: str, theme: str, device: str) -> None:
    """No view, in either theme, on a phone, a desktop or a wide screen breaks a rule that axe-core knows (WCAG 2.2
    AA), or scrolls sideways.
    """
    page = opened(color_scheme=theme, reduced_motion="reduce", **DEVICES[device])
    VIEWS[view](page, changed_copy)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{view}-{theme}-{device}.png")
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_everything_works_with_the_keyboard_alone(opened: Opened, changed_copy: Path) -> None:
    """Without a pointer: search, walk to a hit, compare, slide, step on, close, find similar, browse, filter, help."""
    page = opened()
    # Playwright begins to intercept file choosers with the first listener, and does not wait until it does.
    page.on("filechooser", lambda _chooser: None)
    expect(page.locator(".example").first).to_be_visible()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("o")
    chooser.value.set_files(changed_copy)
    expect(hits(page, "copy").first).to_be_visible()
    for _press in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.tile-link')"):
            break
    page.keyboard.press("Enter")
    slider = page.get_by_role("slider", name="Slide between")
    expect(slider).to_be_focused()
    page.keyboard.press("End")
    expect(slider).to_have_value("100")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.evaluate("document.activeElement.matches('.tile-link')"), "the focus returns to the hit"
    page.keyboard.press("m")
    expect(page.locator(".query-name")).to_contain_text("stained-glass-001")
    page.keyboard.press("b")
    expect(page.get_by_role("link", name="Browse")).to_have_attribute("aria-current", "page")
    page.keyboard.press("f")
    expect(page.get_by_label("Key begins with")).to_be_focused()
    page.keyboard.type("gallery/sea")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("3 pictures")


def test_arrow_keys_walk_over_the_pictures(opened: Opened) -> None:
    """Left, right, up, down, Home and End move the focus over the grid, also to pictures out of sight."""
    page = opened("#/browse")
    page.locator('.grid li[data-index="0"] a').focus()
    focused = "document.activeElement.closest('li')?.dataset.index"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "1"
    page.keyboard.press("ArrowDown")
    below = int(page.evaluate(focused))
    assert below > 1
    page.keyboard.press("ArrowUp")
    assert int(page.evaluate(focused)) < below
    page.keyboard.press("End")
    assert int(page.evaluate(focused)) > 60
    page.keyboard.press("Home")
    assert page.evaluate(focused) == "0"


def test_single_letter_shortcuts_can_be_turned_off(opened: Opened) -> None:
    """WCAG 2.1.4: the help dialog lists the keys and has a switch for the letters, which is remembered."""
    page = opened()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard")
    dialog.get_by_label("Single letters work as shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Find a picture’s twin")
    page.keyboard.press("b")
    expect(page.get_by_role("heading", level=1)).to_have_text("Find a picture’s twin")


def test_the_theme_can_be_chosen_and_is_remembered(opened: Opened) -> None:
    """The button goes from the system's colours to light and dark; a reload keeps the choice without a flash."""
    page = opened(color_scheme="light")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Colours: as the system").click()
    page.get_by_role("button", name="Colours: light").click()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark


def test_an_old_link_without_a_hash_leads_to_its_view(opened: Opened) -> None:
    """``/browse`` and the like, which the server answers with this page, open that view."""
    page = opened("browse")
    expect(page.locator(".tile").first).to_be_visible()
