"""What people do with the page."""

from __future__ import annotations

import base64
from pathlib import Path

from playwright.sync_api import Locator, Page

_MAKE_TRANSFER = """([data, name, type]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  return transfer;
}"""
_MAKE_TEXT = """([kind, text]) => {
  const transfer = new DataTransfer();
  transfer.setData(kind, text);
  return transfer;
}"""
_PASTE = (
    "(transfer) => document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true }))"
)


def choose(page: Page, *paths: Path) -> None:
    """Choose files with the button of the start page."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a picture").click()
    chooser.value.set_files(list(paths))


def drop(page: Page, path: Path, onto: str = "body") -> None:
    """Drag a file over the page and let go."""
    transfer = page.evaluate_handle(_MAKE_TRANSFER, _described(path))
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(onto, event, {"dataTransfer": transfer})


def paste(page: Page, path: Path) -> None:
    """Paste a file from the clipboard."""
    page.evaluate(_PASTE, page.evaluate_handle(_MAKE_TRANSFER, _described(path)))


def paste_text(page: Page, kind: str, text: str) -> None:
    """Paste text of a media type."""
    page.evaluate(_PASTE, page.evaluate_handle(_MAKE_TEXT, [kind, text]))


def hits(page: Page, verdict: str) -> Locator:
    """The tiles of one verdict among the results."""
    return page.locator(f'.verdict-group[data-verdict="{verdict}"] .tile')


def _described(path: Path) -> list[str]:
    return [base64.b64encode(path.read_bytes()).decode(), path.name, "image/jpeg"]
