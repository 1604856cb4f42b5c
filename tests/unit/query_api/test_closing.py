"""The query service's end: every port is closed, whatever happens to another one."""

from __future__ import annotations

import pytest

from query_api.app import close_all


class Port:
    """Notes that it was closed, and fails then if it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.closed = False

    async def close(self) -> None:
        """As the ports have it."""
        self.closed = True
        if self.error is not None:
            raise self.error


async def test_a_port_that_fails_keeps_none_open() -> None:
    """The first error is reported, and says what else failed."""
    ports = [Port(), Port(OSError("first")), Port(), Port(ValueError("second")), Port()]
    with pytest.raises(OSError, match="first") as raised:
        await close_all(ports)
    assert all(port.closed for port in ports)
    assert raised.value.__notes__ == ["closing another port failed, too: ValueError('second')"]


async def test_ports_that_close_are_closed_in_silence() -> None:
    """As on every day."""
    ports = [Port(), Port()]
    await close_all(ports)
    assert all(port.closed for port in ports)
