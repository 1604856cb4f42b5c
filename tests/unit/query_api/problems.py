"""What every error answer has in common."""

from __future__ import annotations

from typing import Any

import httpx

from query_api.http.problems import Problem

ABSENT = "0123456789abcdef0123456789abcdef"


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The answer is a problem document with this status; its members."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    problem = Problem.model_validate(body)
    assert problem.status == status
    assert problem.type == f"urn:twinlens:problem:{problem.code}"
    assert problem.title
    assert problem.detail
    assert problem.request_id == answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    return body
