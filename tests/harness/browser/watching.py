"""Watching a page for what must never happen."""

from __future__ import annotations

from playwright.sync_api import ConsoleMessage, Error, Page, Request


class Watch:
    """Collects console errors (broken content security policies among them), uncaught exceptions and requests to
    other hosts.
    """

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._expected: tuple[str, ...] = ()

    def expect(self, *texts: str) -> None:
        """Console errors that hold one of these texts are no complaint; Chromium logs every 4xx and 5xx answer."""
        self._expected = texts

    def follow(self, page: Page, origin: str) -> None:
        """Watch the page, which may only talk to this origin, and if that has a path, to what lies below it."""

        def on_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning") and not any(text in message.text for text in self._expected):
                self.complaints.append(f"console {message.type}: {message.text} {message.location['url']}")

        def on_error(error: Error) -> None:
            self.complaints.append(f"uncaught: {error}")

        host = "/".join(origin.split("/", 3)[:3])

        def on_request(request: Request) -> None:
            if not request.url.startswith((origin, f"blob:{host}/", "data:")):
                self.complaints.append(f"left the origin: {request.url}")

        page.on("console", on_console)
        page.on("pageerror", on_error)
        page.on("request", on_request)
