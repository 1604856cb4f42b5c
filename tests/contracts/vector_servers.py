"""The Milvus Lite server as a process of the tests."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from tests.harness.stack.process import Command, ServerProcess


def milvus_lite_server(folder: Path, port: int) -> ServerProcess:
    """Milvus Lite's server on 127.0.0.1:`port` with its data in `folder`."""
    program = Path(sys.executable).parent / "milvus-lite"
    return ServerProcess(
        "milvus-lite",
        Command(
            [str(program), "server", "--data-dir", str(folder / "data"), "--host", "127.0.0.1", "--port", str(port)]
        ),
        log=folder / "milvus-lite.log",
        is_ready=lambda: _is_open(port),
    )


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
