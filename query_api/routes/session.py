"""For the page: trade an API key for a cookie, since an ``<img>`` can't send a header."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from starlette.responses import Response

from query_api.answers import Answer
from query_api.errors import Unauthorized, UnsupportedMediaType
from query_api.http.access import COOKIE, TheKeys
from query_api.http.body_guard import SIGN_IN_PATH
from query_api.http.forwarded import prefix_of
from query_api.http.problems import documented, invalid
from query_api.http.uploads import media_type

router = APIRouter(prefix=SIGN_IN_PATH, tags=["session"])
_JSON = "application/json"


class Credentials(BaseModel):
    """An API key."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": {"api_key": "…"}})

    api_key: SecretStr = Field(min_length=1, max_length=512)


class SessionState(Answer):
    """Whether keys are asked for, and whether this client has shown one."""

    api_keys: bool
    authenticated: bool


@router.get("", response_model=SessionState, responses=documented(), summary="Is a key needed?")
async def get_session(request: Request, keys: TheKeys) -> SessionState:
    """Open to everybody."""
    return SessionState(api_keys=keys.required, authenticated=request.state.key_name is not None)


_NOTHING: dict[int | str, dict[str, Any]] = {204: {"description": "Done."}}


_BODY: dict[str, Any] = {"required": True, "content": {_JSON: {"schema": Credentials.model_json_schema()}}}


@router.post(
    "",
    status_code=204,
    response_class=Response,
    responses={**_NOTHING, **documented(400, 408, 413, 415, 422)},
    openapi_extra={"requestBody": _BODY},
    summary="Sign in",
)
async def sign_in(request: Request, keys: TheKeys) -> Response:
    """Set a cookie that stands for the key: for this origin only, out of reach of scripts, until the browser closes."""
    if media_type(request) != _JSON:
        raise UnsupportedMediaType(f"Send the key as {_JSON}.")
    key = _credentials(await request.body()).api_key.get_secret_value()
    if not keys.required or keys.name_of(key) is None:
        raise Unauthorized("This is no valid API key.")
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE, key, httponly=True, samesite="strict", secure=request.url.scheme == "https", path=_cookie_path(request)
    )
    return response


def _credentials(body: bytes) -> Credentials:
    """What the body says. Read here and not by FastAPI, which has a problem of its own for a body that is too large."""
    try:
        return Credentials.model_validate(json.loads(body))
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False), within="body") from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "The body is no JSON.") from error


@router.delete("", status_code=204, response_class=Response, responses={**_NOTHING, **documented()}, summary="Sign out")
async def sign_out(request: Request) -> Response:
    """Forget the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path=_cookie_path(request))
    return response


def _cookie_path(request: Request) -> str:
    """Behind a prefix, what else has this host's name need not see the key."""
    return prefix_of(request.scope) or "/"
