"""The web page and the API's own documentation: static files, served where no route matches."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:{hosts}; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
VIEWS = ("/", "/browse", "/duplicates", "/compare", "/status", "/image")
"""Addresses of the page's views, which deep links may name."""
WEB = Path(__file__).parent / "web"
DOCS = Path(__file__).parent / "docs_page"
SWAGGER = Path(str(resources.files("fastapi_swagger") / "resources"))


def image_hosts(*, redirects: bool, secure: bool, endpoint: str) -> str:
    """The object store, where files are delivered by redirecting to it."""
    return f" {'https' if secure else 'http'}://{endpoint}" if redirects else ""


class WebPage:
    """ASGI app. Anything that is not one of the page's files is left to the 404 problem."""

    def __init__(self, hosts: str = "") -> None:
        self._csp = PAGE_CSP.format(hosts=hosts)
        self._web: ASGIApp = StaticFiles(directory=WEB, check_dir=False)
        self._docs: ASGIApp = StaticFiles(directory=DOCS, html=True)
        self._swagger: ASGIApp = StaticFiles(directory=SWAGGER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(404)
        app, path = self._choose(scope["path"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = self._csp
                headers["Cache-Control"] = "no-cache"
            await send(message)

        await app({**scope, "path": path, "root_path": ""}, receive, send_with_headers)

    def _choose(self, path: str) -> tuple[ASGIApp, str]:
        bare = path.rstrip("/") or "/"
        if path != bare and bare in (*VIEWS, "/docs"):
            # Links are relative, so that they work below any prefix; below `/browse/` they would lead astray.
            return RedirectResponse(f"..{bare}", 308), path
        if path == "/docs":
            return self._docs, "/index.html"
        if path.startswith("/docs/assets/"):
            return self._swagger, path.removeprefix("/docs/assets")
        if path.startswith("/docs/"):
            return self._docs, path.removeprefix("/docs")
        if path in VIEWS:
            return FileResponse(_view(path)), path
        return self._web, path


def _view(view: str) -> Path:
    """A view's own file if it has one, else the one page that shows them all."""
    own = WEB / f"{view.removeprefix('/') or 'index'}.html"
    found = own if own.is_file() else WEB / "index.html"
    if not found.is_file():
        raise HTTPException(404)
    return found
