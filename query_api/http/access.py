"""Who is asking: API keys, and the name that limits are counted under.

Keys are random (make one with ``python -m query_api.new_key NAME``), so a plain SHA-256 of one can't be turned back;
slow password hashes are for secrets that people choose.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from ipaddress import IPv6Address, IPv6Network
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from query_api.errors import Unauthorized
from stores.addresses import parsed_address

COOKIE = "twinlens_key"
API_KEY_HEADER = "X-API-Key"
_MAX_KEY_LENGTH = 512
_NETWORK_BITS = 64


class ApiKeys:
    """``hashes`` are the SHA-256 digests in hex of the keys, by name; none at all means that everybody may ask."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = dict(hashes)

    @property
    def required(self) -> bool:
        """Whether a key is asked for."""
        return bool(self._hashes)

    def name_of(self, key: str) -> str | None:
        """The name of the key, or None. Every key is compared, in constant time: the time taken tells nothing."""
        if len(key) > _MAX_KEY_LENGTH:
            return None
        digest = hash_of(key)
        found = None
        for name, known in self._hashes.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def caller(self, scope: Scope) -> str | None:
        """The name of the first valid key among those that came with a request."""
        names = (self.name_of(key) for key in presented_keys(Headers(scope=scope)))
        return next((name for name in names if name is not None), None)

    def is_stranger(self, scope: Scope) -> bool:
        """Whether a key is asked for and the request, which was admitted, came without one."""
        return self.required and scope["state"]["key_name"] is None


def hash_of(key: str) -> str:
    """What the settings hold of a key. JSON can name lone surrogates, which no key has: they are let through."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def presented_keys(headers: Headers) -> list[str]:
    """What stands in ``Authorization: Bearer``, ``X-API-Key`` and the cookie.

    All of them count: a proxy that asks for a bearer token of its own passes that on beside our cookie.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
    return [key for key in (bearer, headers.get(API_KEY_HEADER), cookie) if key]


def client_of(scope: Scope, key_name: str | None) -> str:
    """What limits are counted under: the key's name, else the address; of IPv6 the network, which is one customer's."""
    if key_name is not None:
        return f"key:{key_name}"
    client = scope.get("client")
    if client is None:
        return "address:unknown"
    address = parsed_address(client[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"address:{IPv6Network((address, _NETWORK_BITS), strict=False)}"
    return f"address:{client[0]}"


# These only document the three ways; the middleware has looked at the key before any route runs.
_bearer = HTTPBearer(auto_error=False, description="An API key, where keys are asked for.")
_header = APIKeyHeader(
    name=API_KEY_HEADER, auto_error=False, description="The same, for clients that can't send a bearer token."
)
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="Set by `POST /v1/session`, for the page.")


async def _keys_of(request: Request) -> ApiKeys:
    keys: ApiKeys = request.app.state.keys
    return keys


TheKeys = Annotated[ApiKeys, Depends(_keys_of)]


async def require_key(
    request: Request,
    keys: TheKeys,
    _by_bearer: Annotated[object, Depends(_bearer)],
    _by_header: Annotated[object, Depends(_header)],
    _by_cookie: Annotated[object, Depends(_cookie)],
) -> None:
    """Raises Unauthorized unless the request came with a key or none is asked for."""
    if keys.required and getattr(request.state, "key_name", None) is None:
        raise key_needed()


def key_needed() -> Unauthorized:
    """What those are told who come without a key, or with a wrong one."""
    return Unauthorized(
        "Send an API key as `Authorization: Bearer …` or in `X-API-Key`.", headers={"WWW-Authenticate": "Bearer"}
    )
