"""What a user of the installation does, by the published ports: put pictures, search for them, delete them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any, Final

import httpx
from minio import Minio

from tests.compose.checks import WAIT_S, expect, until
from tests.compose.stack import Stack
from tests.harness.pictures import picture

BUCKET: Final = "pictures"


class Client:
    """Of one installation: an S3 client with the administrator's key, and an HTTP client of the query service.

    ``objects``: the installation whose object store it is, where that is another.
    """

    def __init__(self, stack: Stack, api_key: str = "", objects: Stack | None = None) -> None:
        self._stack = stack
        self._objects = objects or stack
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.api = httpx.Client(base_url=stack.url("TWINLENS_PORT"), headers=headers, timeout=60)
        self.s3 = self.s3_as(self._objects.secret("minio_root_user"), self._objects.secret("minio_root_password"))

    def s3_as(self, key: str, secret: str) -> Minio:
        """An S3 client with this key."""
        return Minio(f"127.0.0.1:{self._objects.ports['S3_PORT']}", access_key=key, secret_key=secret, secure=False)

    def put(self, numbers: Iterable[int]) -> None:
        """Put these pictures, each under its number."""
        for number in numbers:
            data = picture(number, side=64)
            self.s3.put_object(BUCKET, key(number), io.BytesIO(data), len(data))

    def delete(self, number: int) -> None:
        """Delete the picture."""
        self.s3.remove_object(BUCKET, key(number))

    def found(self, number: int, under: str = "") -> bool:
        """Whether a search by the picture names its object, or the one under a key."""
        answer = self.api.post(
            "/v1/search", params={"fresh": True}, files={"file": ("q.png", picture(number, side=64))}
        )
        if answer.status_code != httpx.codes.OK:
            return False
        results: list[dict[str, Any]] = answer.json()["results"]
        return bool(results) and results[0]["verdict"] == "exact" and (under or key(number)) in results[0]["keys"]

    def wait_found(self, numbers: Iterable[int], limit_s: float = WAIT_S) -> float:
        """Wait until all of them are found; the seconds that took."""
        wanted = list(numbers)
        return until(lambda: all(self.found(number) for number in wanted), f"{wanted} are found", limit_s)

    def wait_gone(self, number: int) -> float:
        """Wait until a search doesn't name it any more."""
        return until(lambda: not self.found(number), f"{key(number)} is gone")

    def images(self) -> dict[str, tuple[str, str, str]]:
        """Id, digest and state of each image, by its key."""
        found: dict[str, tuple[str, str, str]] = {}
        token = None
        while True:
            page = self.api.get("/v1/images", params={"limit": 500, **({"page_token": token} if token else {})}).json()
            found |= {image["key"]: (image["id"], image["sha256"], image["state"]) for image in page["results"]}
            token = page["next_page_token"]
            if token is None:
                return found

    def differences(self) -> int:
        """How much a comparison of bucket, catalog and vectors finds now; nothing is changed."""
        done = self._stack.run("run", "--rm", "--no-deps", "setup", "reconcile", "--dry-run", "--json", check=False)
        expect(done.stdout.startswith("["), f"reconcile ended with {done.returncode}: {done.stdout}{done.stderr}")
        return sum(report["differences"] for report in json.loads(done.stdout))

    def counts(self) -> tuple[int, int, int]:
        """Objects, contents and vectors, as the query service has counted them."""
        stats = self.api.get("/v1/stats").json()
        return stats["objects"], stats["contents"], stats["vectors"]


def key(number: int) -> str:
    """The key of a picture."""
    return f"proof/{number}.png"
