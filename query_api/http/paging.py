"""Paging tokens: opaque to clients, and good only for the listing that they came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from query_api.errors import InvalidRequest

MAX_TOKEN_LENGTH = 4096


def make_token(listing: str, position: list[Any]) -> str:
    """A token for where a listing goes on. ``listing`` says what is listed: its kind, order and filters."""
    text = json.dumps([_mark(listing), *position], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(token: str, listing: str, shape: tuple[type, ...]) -> list[Any]:
    """The position in a token. Raises InvalidRequest for a token that is broken or of another listing."""
    try:
        padded = token + "=" * (-len(token) % 4)
        mark, *rest = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise _refused("The page token is broken.") from error
    position: list[Any] = rest
    if mark != _mark(listing):
        raise _refused("The page token belongs to a listing with another order or other filters.")
    if [type(value) for value in position] != list(shape) or not all(_storable(value) for value in position):
        raise _refused("The page token is broken.")
    return position


def _storable(value: Any) -> bool:
    """Whether a database can compare it: tokens can be forged."""
    if isinstance(value, int):
        return abs(value) < 2**63
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _mark(listing: str) -> str:
    return hashlib.sha256(listing.encode()).hexdigest()[:8]


def _refused(detail: str) -> InvalidRequest:
    return InvalidRequest(detail, field="query.page_token")
