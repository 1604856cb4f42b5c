"""A picture that nothing is like, and pictures that can't be found yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import Opened
from tests.browser.rules import RULES
from tests.harness.browser.acting import choose, hits

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def _noise(path: Path) -> None:
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (450, 600, 3), dtype=np.uint8)).save(path)


def _flat(path: Path) -> None:
    Image.new("RGB", (400, 300), (84, 201, 180)).save(path)


@pytest.mark.parametrize("make", [_noise, _flat], ids=["noise", "flat"])
def test_nothing_alike_is_said_and_weak_matches_are_folded_away(opened: Opened, tmp_path: Path, make: object) -> None:
    """White noise and a flat colour are like nothing: the page says so, and shows what is nearest on request only."""
    assert callable(make)
    make(tmp_path / "query.png")
    page = opened(**PHONE)
    choose(page, tmp_path / "query.png")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing alike")
    expect(page.get_by_role("heading", name="No twin in the catalog")).to_be_visible()
    expect(page.get_by_text("look a little alike")).to_have_count(0)
    expect(hits(page, "similar")).to_have_count(0)
    expect(hits(page, "weak").first).not_to_be_visible()
    page.get_by_text("Weak matches").click()
    expect(hits(page, "weak").first).to_be_visible()
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_pictures_that_wait_are_counted(opened: Opened, changed_copy: Path) -> None:
    """Where pictures are still to be indexed, the results say how many, since one of them may be the twin."""
    page = opened()
    choose(page, changed_copy)
    expect(page.get_by_text("1 picture in the catalog is still waiting and can’t be found yet.")).to_be_visible()
