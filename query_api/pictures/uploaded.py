"""Pictures that come with a request: decoded, or made small, outside the event loop. Nothing of them is kept here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from imaging.decoding import DecodedImage
from imaging.digest import Digest, digest_of
from imaging.errors import TooManyBytes, UndecodableImage
from imaging.limits import DecodeLimits
from imaging.model_spec import PixelSpec
from imaging.thumbnails import thumbnail
from imaging.views import View, decode_with_views
from query_api.errors import TooLarge, UnreadablePicture
from query_api.sharing.cpu import CpuPool
from schemas.task_groups import task_group


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with a request."""

    name: str | None
    data: bytes
    original_sha256: str | None = None
    """Of the file that it was made of, as the client says: good for what this client is shown, and for nothing else."""


class Decoded(NamedTuple):
    """A picture as a model takes it, the views beside the whole, and the digest of its file."""

    image: DecodedImage
    views: Sequence[View]
    digest: Digest


@dataclass(frozen=True, slots=True)
class UploadedPictures:
    """Every method raises UnreadablePicture and TooLarge, which say of which picture, and Overloaded."""

    pool: CpuPool
    limits: DecodeLimits

    async def decoded(self, uploads: Sequence[Upload], pixels: PixelSpec, *, parts: bool) -> list[Decoded]:
        """Each picture without its frame, too, and in ``parts`` if these are asked for.

        The first that fails cancels the rest, so that a refused request stops costing.
        """
        async with task_group() as tasks:
            decoding = [
                tasks.create_task(self._decoded(upload.data, pixels, parts=parts, picture=index))
                for index, upload in enumerate(uploads)
            ]
        return [task.result() for task in decoding]

    async def _decoded(self, data: bytes, pixels: PixelSpec, *, parts: bool, picture: int) -> Decoded:
        def work() -> Decoded:
            image, views = decode_with_views(data, self.limits, pixels, parts=parts)
            return Decoded(image, views, digest_of(data))

        with _refusals_of(picture):
            return await self.pool.run("decode", work)

    async def thumbnail(self, data: bytes, side: int, *, picture: int = 0) -> bytes:
        """A JPEG whose longer side has at most so many pixels."""
        with _refusals_of(picture):
            return await self.pool.run("thumbnail", lambda: thumbnail(data, self.limits, side))


@contextmanager
def _refusals_of(picture: int) -> Iterator[None]:
    """Say of which picture of a request it is that something is wrong."""
    try:
        yield
    except TooManyBytes as error:
        raise TooLarge(error.detail, picture=picture) from error
    except UndecodableImage as error:
        raise UnreadablePicture(error.detail, reason=error.reason, picture=picture) from error
