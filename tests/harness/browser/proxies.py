"""Real reverse proxies, with the examples of docs/operations.md as their configuration."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs" / "operations.md"
PREFIX = "/pictures/"
START_WITHIN_S = 60
_OURS = "127.0.0.1:6200"
_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {example}
    }}
}}
"""
_CADDY = """{{
    admin off
    auto_https off
}}
http://:{port} {{
    bind 127.0.0.1
{example}
}}
"""


def example(name: str) -> str:
    """The configuration that the docs show for a proxy."""
    found = re.search(rf"^```{name}\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/operations.md has no example for {name}"
    return found[1]


@contextmanager
def proxied(name: str, url: str, folder: Path, **changed: str) -> Iterator[str]:
    """The address of ``url`` behind nginx or Caddy; each of ``changed`` takes the place of a text in the example."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shown = example(name).replace(_OURS, url.removeprefix("http://").rstrip("/"))
    for old, new in changed.items():
        shown = shown.replace(old, new)
    path = folder / f"{name}.conf"
    path.write_text({"nginx": _NGINX, "caddy": _CADDY}[name].format(folder=folder, port=port, example=shown))
    command = {
        "nginx": ["nginx", "-c", str(path), "-e", "stderr"],
        "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", str(path)],
    }[name]
    environment = {"HOME": str(folder), "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    process = subprocess.Popen(command, env=environment)
    try:
        _wait(port, process)
        yield f"http://127.0.0.1:{port}{PREFIX}"
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + START_WITHIN_S
    while time.monotonic() < ends_at:
        assert process.poll() is None, "the proxy ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the proxy did not start in time")
