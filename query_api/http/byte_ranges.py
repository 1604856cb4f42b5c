"""The ``Range`` header (RFC 9110, section 14): one range of bytes; anything else means the whole file."""

from __future__ import annotations

import re
from typing import NamedTuple

from query_api.errors import RangeNotSatisfiable

_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class ByteRange(NamedTuple):
    """Bytes ``first`` to ``last``, both included, of a file with ``size`` bytes."""

    first: int
    last: int
    size: int

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self.last - self.first + 1

    @property
    def header(self) -> str:
        """The value of Content-Range."""
        return f"bytes {self.first}-{self.last}/{self.size}"


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """The range asked for, or None for the whole file. Raises RangeNotSatisfiable.

    Several ranges and other units may be ignored, says the RFC, and are.
    """
    match = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    begin, end = match.groups()
    if not begin:
        first, last = max(0, size - int(end)), size - 1
    else:
        first, last = int(begin), min(int(end) if end else size - 1, size - 1)
        if end and int(end) < first:
            return None
    if first > last:
        raise RangeNotSatisfiable(f"The file has {size:,} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return ByteRange(first, last, size)
