"""Entity tags (RFC 9110, section 8.8.3)."""

from __future__ import annotations

import re

_TAG = re.compile(r'(?:W/)?("[^"]*")')


def quoted(value: str) -> str:
    """A strong tag."""
    return f'"{value}"'


def is_current(if_none_match: str | None, tag: str) -> bool:
    """Whether the client's copy is good. The comparison is the weak one, as the RFC wants it for GET."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or tag in _TAG.findall(if_none_match)
