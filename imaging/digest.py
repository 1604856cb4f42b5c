"""SHA-256, MD5 and size of a stream, in one pass."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Digest:
    """Lower-case hexadecimal digests and the number of bytes.

    SHA-256 identifies a content; MD5 is kept for programs that knew the predecessor's `hash_code`, and for
    nothing that has to be safe.
    """

    sha256: str
    md5: str
    size: int


class Digester:
    """Takes bytes chunk by chunk. One instance belongs to one stream and one thread at a time."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def update(self, chunk: bytes) -> None:
        """Add the next bytes of the stream."""
        self._sha256.update(chunk)
        self._md5.update(chunk)
        self._size += len(chunk)

    @property
    def size(self) -> int:
        """The number of bytes so far."""
        return self._size

    def result(self) -> Digest:
        """The digests of all bytes so far; more may follow."""
        return Digest(self._sha256.hexdigest(), self._md5.hexdigest(), self._size)


def digest_of(data: bytes) -> Digest:
    """The digests of bytes that are all there."""
    digester = Digester()
    digester.update(data)
    return digester.result()
