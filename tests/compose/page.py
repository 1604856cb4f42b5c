"""The page in a real browser."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import TimeoutError as TooSlow
from playwright.sync_api import expect as see

from ops.copies import TRANSFORMS
from ops.gallery import make_gallery
from tests.compose.checks import WAIT_S, ProofFailed, expect, until
from tests.compose.client import BUCKET, Client
from tests.harness.browser.acting import choose, hits
from tests.harness.browser.chromium import chromium
from tests.harness.browser.watching import Watch

PAINTED: Final = 8


def copy_is_found(client: Client, url: str) -> None:
    """Put painted pictures, choose a crop of one in the browser, and see the original as the copy that it is.

    Nothing goes wrong in the page meanwhile, and it asks nobody but ``url``.
    """
    with tempfile.TemporaryDirectory(prefix="twinlens-page-") as name:
        painted = make_gallery(Path(name), count=PAINTED)
        for file in painted:
            client.s3.fput_object(BUCKET, f"page/{file.name}", str(file))
        counting = {"prefix": "page/", "state": "indexed", "count": "true", "limit": "1"}
        until(lambda: client.api.get("/v1/images", params=counting).json()["total"] == PAINTED, "they are indexed")
        crop = Path(name) / "my crop.jpg"
        crop.write_bytes(TRANSFORMS["crop-70"](painted[1].read_bytes()))
        _search(crop, painted[1].stem, url)


def _search(crop: Path, original: str, url: str) -> None:
    watch = Watch()
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        watch.follow(page, f"{url}/")
        page.goto(f"{url}/")
        choose(page, crop)
        see(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"^Found \d cop"))
        see(hits(page, "copy").first).to_contain_text(original)
        hits(page, "copy").first.get_by_role("link").first.click()
        shown = "() => document.querySelector('.stage-right')?.naturalWidth > 0"
        try:
            page.wait_for_function(shown, timeout=WAIT_S * 1000)
        except TooSlow as error:
            page.screenshot(path="build/proof-page.png")
            raise ProofFailed(f"the pictures are not compared: {watch.complaints}, build/proof-page.png") from error
    expect(not watch.complaints, f"in the page: {watch.complaints}")
