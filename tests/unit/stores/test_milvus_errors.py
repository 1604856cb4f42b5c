"""Which complaints of Milvus and gRPC are waited out, and which are bugs."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from pymilvus.exceptions import DataNotMatchException, MilvusException, ParamError

from schemas.errors import VectorIndexOutage
from stores.vectors.milvus_errors import translated_milvus_errors


def rpc_error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    """An error as gRPC raises it."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="details")


def wrapped(cause: Exception) -> MilvusException:
    """What pymilvus makes of an error in its own code."""
    error = MilvusException(message=f"Unexpected error, message=<{cause}>")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        rpc_error(grpc.StatusCode.UNAVAILABLE),
        rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED),
        rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED),
        rpc_error(grpc.StatusCode.UNAUTHENTICATED),
        MilvusException(8, "rate limit exceeded"),
        MilvusException(100, "collection not found"),
        MilvusException(100, "collection not found, as newer servers say it", is_input_error=True),
        MilvusException(101, "collection not loaded"),
        MilvusException(101, "collection not loaded, as newer servers say it", is_input_error=True),
        MilvusException(1600, "alias not found", is_input_error=True),
        MilvusException(901, "node offline"),
        MilvusException(65535, "fail to Search, QueryNode ID=1"),
        wrapped(OSError("broken pipe")),
        TimeoutError(),
    ],
    ids=str,
)
async def test_a_server_in_trouble_is_an_outage(error: Exception) -> None:
    """Whatever may pass by itself is waited out, and the text says what was tried."""
    with pytest.raises(VectorIndexOutage, match="Milvus: search"):
        async with translated_milvus_errors("Milvus: search", timeout_s=5):
            raise error


@pytest.mark.parametrize(
    "error",
    [
        rpc_error(grpc.StatusCode.INVALID_ARGUMENT),
        rpc_error(grpc.StatusCode.UNIMPLEMENTED),
        ParamError(message="limit"),
        DataNotMatchException(message="field"),
        MilvusException(1100, "invalid parameter"),
        MilvusException(65535, "made no sense", is_input_error=True),
        wrapped(TypeError("not a number")),
        ZeroDivisionError(),
    ],
    ids=str,
)
async def test_mistakes_stay_what_they_are(error: Exception) -> None:
    """A call that can never succeed is not waited for."""
    with pytest.raises(type(error)):
        async with translated_milvus_errors("Milvus: search", timeout_s=5):
            raise error


async def test_a_call_that_takes_too_long_is_an_outage() -> None:
    """The time limit ends the wait."""
    with pytest.raises(VectorIndexOutage, match=r"0\.01 s"):
        async with translated_milvus_errors("Milvus: search", timeout_s=0.01):
            await asyncio.Event().wait()


async def test_a_cancelled_connection_is_an_outage_and_a_cancelled_task_is_not() -> None:
    """GRPC cancels calls on a channel that is replaced; that must not end the task that made the call."""
    with pytest.raises(VectorIndexOutage, match="closed"):
        async with translated_milvus_errors("Milvus: search", timeout_s=5):
            raise asyncio.CancelledError

    started = asyncio.Event()

    async def call() -> None:
        async with translated_milvus_errors("Milvus: search", timeout_s=5):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
