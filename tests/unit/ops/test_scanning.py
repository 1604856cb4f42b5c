"""Commands that read everything show how far they are, and give up in the end."""

from __future__ import annotations

import asyncio

import pytest

from ops.scanning import ScanTooLong, scanning


async def test_it_shows_how_many_were_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, so that the answer can be piped, which is left alone."""
    async with scanning("rows looked at", limit_s=60, streams=True) as looked_at:
        for _ in range(3):
            looked_at(500)
        print("the answer")
    out, err = capsys.readouterr()
    assert out == "the answer\n"
    assert "rows looked at" in err
    assert "1500" in err


async def test_it_gives_up() -> None:
    """With what to do about it; a time-out of something else stays what it is."""
    with pytest.raises(ScanTooLong, match="--time-limit"):
        async with scanning("rows", limit_s=0.01):
            await asyncio.sleep(60)
    with pytest.raises(TimeoutError):
        async with scanning("rows", limit_s=60):
            raise TimeoutError
