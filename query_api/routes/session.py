"""For the page: trade an API key for a cookie, since an ``<img>`` can't send a header."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.responses import Response

from query_api.access import COOKIE, ApiKeys
from query_api.answers import Answer
from query_api.errors import Unauthorized
from query_api.problems import documented

router = APIRouter(prefix="/v1/session", tags=["session"])


class Credentials(BaseModel):
    """An API key."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": {"api_key": "…"}})

    api_key: SecretStr = Field(min_length=1, max_length=512)


class SessionState(Answer):
    """Whether keys are asked for, and whether this client has shown one."""

    api_keys: bool
    authenticated: bool


@router.get("", response_model=SessionState, responses=documented(), summary="Is a key needed?")
async def get_session(request: Request) -> SessionState:
    """Open to everybody."""
    keys: ApiKeys = request.app.state.keys
    return SessionState(api_keys=keys.required, authenticated=request.state.key_name is not None)


_NOTHING: dict[int | str, dict[str, Any]] = {204: {"description": "Done."}}


@router.post(
    "", status_code=204, response_class=Response, responses={**_NOTHING, **documented(400, 413, 422)}, summary="Sign in"
)
async def sign_in(request: Request, credentials: Credentials) -> Response:
    """Set a cookie that stands for the key: for this origin only, out of reach of scripts, until the browser closes."""
    keys: ApiKeys = request.app.state.keys
    key = credentials.api_key.get_secret_value()
    if not keys.required or keys.name_of(key) is None:
        raise Unauthorized("This is no valid API key.")
    response = Response(status_code=204)
    response.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=request.url.scheme == "https", path="/")
    return response


@router.delete("", status_code=204, response_class=Response, responses={**_NOTHING, **documented()}, summary="Sign out")
async def sign_out() -> Response:
    """Forget the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
    return response
