"""Free TCP ports of 127.0.0.1."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from ops.embedded.errors import StackError

HOST: Final = "127.0.0.1"
_FIRST, _LAST = 20_000, 32_000
"""Below Linux's ephemeral range (32768 up), so that no outgoing connection takes the port of a stopped server."""
_TRIES: Final = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # As servers do: connections of a server that has just ended are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False


def free_port(*, wanted: int = 0, other_than: Collection[int] = ()) -> int:
    """``wanted`` if it is free and not among ``other_than``, else any such port. Raises StackError if there is none."""
    candidates = [wanted] if wanted else []
    candidates += [random.randint(_FIRST, _LAST) for _ in range(_TRIES)]  # noqa: S311 - no secret
    for port in candidates:
        if port not in other_than and is_free(port):
            return port
    raise StackError(f"no free port was found between {_FIRST} and {_LAST}")
