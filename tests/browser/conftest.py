"""Real Chromium on the real query service, over pictures that the project paints itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from ops.copies import TRANSFORMS
from ops.gallery import make_gallery
from schemas.records import ContentState
from tests.browser.catalog import Picture, pictures_of
from tests.browser.serving import Site, serving
from tests.harness.browser.chromium import DEADLINE_MS, chromium
from tests.harness.browser.watching import Watch

GALLERY = 60
MANY = 10_000
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"

Opened = Callable[..., Page]


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Painted pictures, each another."""
    return make_gallery(tmp_path_factory.mktemp("gallery"), count=GALLERY)


@pytest.fixture(scope="session")
def catalog(gallery: list[Path]) -> list[Picture]:
    """The gallery, changed copies of two pictures, the same file under more keys, one pending and two rejected."""
    painted = pictures_of(gallery, "gallery/")
    copies = [Picture(f"copies/{name}.jpg", TRANSFORMS[name](painted[0].data)) for name in ("half-size", "grey")]
    copies.append(Picture("copies/mirrored.jpg", TRANSFORMS["mirrored"](painted[5].data)))
    again = [
        Picture("again/first.jpg", painted[0].data),
        Picture("again/ünïcode & +%25 <b>.jpg", painted[0].data),
        Picture("again/third.webp", painted[3].data),
    ]
    waiting = [
        Picture("incoming/just-now.jpg", painted[1].data + b"\0", ContentState.PENDING),
        Picture(
            "incoming/notes.jpg", b"not a picture", ContentState.REJECTED, "not_an_image: The file holds no picture."
        ),
        Picture(
            "incoming/half.jpg", painted[2].data[:900], ContentState.REJECTED, "truncated: The picture ends too early."
        ),
    ]
    return [*waiting, *copies, *again, *painted]


@pytest.fixture(scope="session")
def site(catalog: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The service that most tests share; who takes its stores away gives them back."""
    with serving(tmp_path_factory.mktemp("site"), catalog) as running:
        yield running


@pytest.fixture(scope="session")
def many(gallery: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A catalog of 10,000 objects over the gallery's contents."""
    painted = pictures_of(gallery, "")
    pictures = [
        Picture(f"{number:05}/{painted[number % GALLERY].key}", painted[number % GALLERY].data)
        for number in range(MANY)
    ]
    with serving(tmp_path_factory.mktemp("many"), pictures) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium. It ends with this folder's tests: as long as Playwright runs, this thread has a running event loop, and
    no test elsewhere could run one of its own.
    """
    with chromium() as browser:
        yield browser


@pytest.fixture
def watch() -> Watch:
    """What went wrong in the pages of a test; a test that provokes an error says so with ``watch.expect``."""
    return Watch()


@pytest.fixture
def opened(browser: Browser, site: Site, watch: Watch) -> Iterator[Opened]:
    """``opened(hash, url=…, **context options)``: a page in a fresh profile, watched for errors."""
    contexts: list[BrowserContext] = []

    def open_page(where: str = "", *, url: str | None = None, **options: Any) -> Page:
        start = url or site.url
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(DEADLINE_MS)
        contexts.append(context)
        page = context.new_page()
        watch.follow(page, start)
        page.goto(start + where)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert watch.complaints == []


@pytest.fixture
def changed_copy(gallery: list[Path], tmp_path: Path) -> Path:
    """A 70 % crop of a gallery picture (the stained glass), as a file to search with."""
    path = tmp_path / "my crop.jpg"
    path.write_bytes(TRANSFORMS["crop-70"](gallery[1].read_bytes()))
    return path
