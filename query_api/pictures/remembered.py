"""Pictures that clients asked to have remembered for some minutes, so that they need not send them again.

Kept in this process's memory alone, under names that nobody can guess: who knows the name was given it. Where a name
leads nowhere (another process, a restart, too many others since), the client sends the picture once more.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, NamedTuple

from cachetools import TTLCache

from query_api.errors import UploadForgotten
from query_api.pictures.uploaded import Upload

REMEMBERED_S: Final = 900.0
PREFIX: Final = "u-"
"""Of each name, which tells it from an image's id."""
MAX_NAME_LENGTH: Final = 64
_BYTES_OF_NAME: Final = 16


class Remembered(NamedTuple):
    """A picture, and whether a URL led to it."""

    upload: Upload
    by_url: bool = False


class RememberedUploads:
    """At most ``max_bytes`` of pictures, for ``REMEMBERED_S`` seconds each of ``clock``; the oldest go first."""

    def __init__(self, *, max_bytes: int, clock: Callable[[], float]) -> None:
        self._kept: TTLCache[str, Remembered] = TTLCache(
            max_bytes, REMEMBERED_S, timer=clock, getsizeof=lambda kept: len(kept.upload.data)
        )

    def keep(self, picture: Remembered) -> str | None:
        """The name that it goes by from now on; None for one that is too large to be kept."""
        if len(picture.upload.data) > self._kept.maxsize:
            return None
        name = PREFIX + secrets.token_urlsafe(_BYTES_OF_NAME)
        self._kept[name] = picture
        return name

    def get(self, name: str) -> Remembered:
        """The picture with this name. Raises UploadForgotten."""
        found = self._kept.get(name)
        if found is None:
            raise UploadForgotten("This upload is not remembered any more; send the picture again.")
        return found
