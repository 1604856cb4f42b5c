"""What a complaint of Milvus, of gRPC or of pymilvus means for Twinlens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import grpc
from pymilvus.exceptions import (
    DataNotMatchException,
    DataTypeNotMatchException,
    DataTypeNotSupportException,
    MilvusException,
    ParamError,
    PrimaryKeyException,
)

from schemas.errors import VectorIndexOutage

_OUR_MISTAKES: Final = (
    ParamError,
    DataNotMatchException,
    DataTypeNotMatchException,
    DataTypeNotSupportException,
    PrimaryKeyException,
)
_BUGS_INSIDE: Final = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""pymilvus wraps whatever its own code raises into a MilvusException, with the original as its cause."""

PARAMETER_INVALID: Final = 1100
"""The server's code for a request that makes no sense."""
NOT_FOUND: Final = frozenset({100, 1600})
"""The server's codes for a collection or an alias that isn't there (Milvus Lite has only the first)."""
SERVER_STATES: Final = NOT_FOUND | {
    101,  # the collection is not loaded
    103,  # the collection is not loaded as a whole
    201,  # the partition is not loaded
    700,  # the index isn't there
}
"""The server's codes for a state of its own, though newer servers call some of them errors of the input."""

_ANSWERS: Final = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED})
"""gRPC codes that say something about the request, and nothing about the server's health."""


@asynccontextmanager
async def translated_milvus_errors(what: str, *, timeout_s: float | None) -> AsyncIterator[None]:
    """Turn everything that says "not now" into VectorIndexOutage; mistakes of ours stay as they are.

    Arguments are checked before they are sent, so that what the server still complains of is its own state: it
    answers the code 65535 to a missing node as well as to a wrong dimension.
    """
    task = asyncio.current_task()
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise VectorIndexOutage(f"{what}: no answer within {timeout_s:g} s") from error
    except grpc.RpcError as error:
        if error.code() in _ANSWERS:
            raise
        raise VectorIndexOutage(f"{what}: {error.code().name}: {error.details()}") from error
    except MilvusException as error:
        if is_our_mistake(error):
            raise
        raise VectorIndexOutage(f"{what}: {error.message}") from error
    except asyncio.CancelledError as error:
        if task is None or task.cancelling():
            raise
        # pymilvus closes the channel that it replaces, and gRPC cancels what still waits there: nobody cancelled us.
        raise VectorIndexOutage(f"{what}: the connection was closed") from error


def is_our_mistake(error: MilvusException) -> bool:
    """Whether the call can't succeed whatever the server's state."""
    if error.code in SERVER_STATES:
        return False
    return (
        isinstance(error, _OUR_MISTAKES)
        or error.is_input_error
        or error.code == PARAMETER_INVALID
        or isinstance(error.__cause__, _BUGS_INSIDE)
    )


def silence_pymilvus() -> None:
    """Keep pymilvus from logging each failed call several times over, with tracebacks: the exception says it all."""
    for name in ("pymilvus", "pymilvus.milvus_client"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
        logger.propagate = False
