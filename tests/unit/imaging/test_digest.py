"""Digests of streams."""

import hashlib

import pytest

from imaging.digest import Digester, digest_of


@pytest.mark.parametrize("data", [b"", b"a", b"Twinlens" * 10_000])
@pytest.mark.parametrize("chunk", [1, 7, 65_536])
def test_chunks_add_up(data: bytes, chunk: int) -> None:
    """Whatever the chunks, the digests are those of the whole."""
    digester = Digester()
    for start in range(0, len(data), chunk):
        digester.update(data[start : start + chunk])
    result = digester.result()
    assert result == digest_of(data)
    assert result.sha256 == hashlib.sha256(data).hexdigest()
    assert result.md5 == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert result.size == digester.size == len(data)


def test_more_may_follow_a_result() -> None:
    """Asking for the result in between changes nothing."""
    digester = Digester()
    digester.update(b"Twin")
    assert digester.result() == digest_of(b"Twin")
    digester.update(b"lens")
    assert digester.result() == digest_of(b"Twinlens")
