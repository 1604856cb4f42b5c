"""`--wait`: until pictures can be found, and what is told of those that never will."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest

from ops.http_client import ApiClient
from ops.settled import RejectedKey, StillPending, wait_until_settled
from schemas.records import ObjectRef

NEW, OLD = (hashlib.sha256(text).hexdigest() for text in (b"new", b"old"))
REFS = [ObjectRef("pictures", name) for name in ("good.jpg", "bad.jpg")]
IDS = {ref.image_id: ref.key for ref in REFS}


def client(answers: dict[str, list[dict[str, Any] | int]]) -> ApiClient:
    """A query service whose answers about each key follow one another; the last one stays. A number is a status."""

    def answer(request: httpx.Request) -> httpx.Response:
        left = answers[IDS[request.url.path.rpartition("/")[2]]]
        now = left.pop(0) if len(left) > 1 else left[0]
        return httpx.Response(now, json={}) if isinstance(now, int) else httpx.Response(200, json=now)

    return ApiClient("http://api", transport=httpx.MockTransport(answer))


def image(state: str, sha256: str | None = NEW, reason: str | None = None) -> dict[str, Any]:
    """What is read of an image."""
    return {"state": state, "sha256": sha256, "reason": reason}


async def test_it_waits_for_each_and_says_what_was_rejected() -> None:
    """Not there yet, pending, away for a moment, and the state of the bytes of before: none of it is the end."""
    answers: dict[str, list[dict[str, Any] | int]] = {
        "good.jpg": [404, image("pending"), 503, image("indexed", OLD), image("indexed")],
        "bad.jpg": [image("rejected", OLD, "before"), image("rejected", NEW, "truncated: the file ends too early")],
    }
    settled: list[int] = []
    async with client(answers) as api:
        rejected = await wait_until_settled(
            api, dict.fromkeys(REFS, NEW), timeout_s=30, advance=lambda: settled.append(1), poll_s=0
        )
    assert rejected == [RejectedKey("bad.jpg", "truncated: the file ends too early")]
    assert len(settled) == 2


async def test_it_gives_up_when_nothing_moves() -> None:
    """And says how many are still waiting."""
    answers: dict[str, list[dict[str, Any] | int]] = {"good.jpg": [image("indexed")], "bad.jpg": [image("pending")]}
    async with client(answers) as api:
        with pytest.raises(StillPending, match="1 of 2 pictures are still pending"):
            await wait_until_settled(api, dict.fromkeys(REFS, NEW), timeout_s=0.05, advance=int, poll_s=0.01)
