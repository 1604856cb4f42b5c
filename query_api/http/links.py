"""Addresses of files and thumbnails."""

from __future__ import annotations

from dataclasses import dataclass

_VERSION_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Links:
    """``base`` is ``api.public_url`` or a proxy's prefix; without the former, links are relative to the host."""

    base: str = ""

    def file(self, image_id: str) -> str:
        """The picture as it was uploaded."""
        return f"{self.base}/v1/images/{image_id}/file"

    def thumbnail(self, image_id: str, sha256: str | None) -> str:
        """A small JPEG. The address changes with the bytes, so that it can be cached for ever."""
        return f"{self.base}/v1/images/{image_id}/thumbnail" + (f"?v={version_of(sha256)}" if sha256 else "")


def version_of(sha256: str) -> str:
    """The start of the digest: enough to tell the versions of one object apart."""
    return sha256[:_VERSION_LENGTH]
