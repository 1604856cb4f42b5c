"""Pictures out of a request's body: multipart files or one raw body, within the limits while they stream in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from query_api.errors import InvalidRequest, TooLarge, UnsupportedMediaType
from query_api.metrics import Metrics
from query_api.pictures.uploaded import Upload
from schemas.records import UNTYPED

MULTIPART = "multipart/form-data"
MAX_FIELD_BYTES = 64 * 1024
MAX_FIELDS = 32
MAX_JSON_BYTES = 2 * 1024 * 1024
_TOO_LARGE_TEXT = "exceeded maximum size"
"""What Starlette says of a part that is not a file."""
_NAME_IT = "a picture's part needs a filename, whatever it is"


def media_type(request: Request) -> str:
    """The type of the body, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def read_form(request: Request, *, max_files: int) -> AsyncIterator[FormData]:
    """The multipart form. Large parts go to a temporary file as they come in, which is gone after the block."""
    if media_type(request) != MULTIPART:
        raise UnsupportedMediaType(f"Send the body as {MULTIPART}.")
    reading = request.form(max_files=max_files, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
    try:
        form = await reading
    except HTTPException as error:
        if _TOO_LARGE_TEXT in str(error.detail):
            detail = f"A part without a filename has more than {MAX_FIELD_BYTES:,} bytes; {_NAME_IT}."
            raise InvalidRequest(detail, field="body") from error
        raise
    try:
        yield form
    finally:
        await form.close()


@dataclass(frozen=True, slots=True)
class BodyReader:
    """Takes pictures of at most ``max_bytes`` each, and ``max_pictures`` of them at once."""

    max_bytes: int
    max_pictures: int
    metrics: Metrics

    async def pictures(self, request: Request, *, most: int | None = None) -> list[Upload]:
        """One picture or more, however they were sent. Raises InvalidRequest, TooLarge or UnsupportedMediaType."""
        with self.metrics.stage("read"):
            kind = media_type(request)
            if kind == MULTIPART:
                async with read_form(request, max_files=most or self.max_pictures) as form:
                    uploads = await self.files(form, "file")
                    if not uploads:
                        raise InvalidRequest(_no_file(form.keys()), field="body.file")
                    return uploads
            if is_raw_picture(kind):
                data = await _whole(request, self.max_bytes)
                if data is None:
                    raise self._too_large()
                if not data:
                    raise InvalidRequest("The body is empty; send a picture.", field="body")
                return [Upload(None, data)]
            raise UnsupportedMediaType(
                f"Send a picture as {MULTIPART} with the field `file`, or as the body with its image type, "
                f"not as {kind}."
            )

    async def files(self, form: FormData, field: str) -> list[Upload]:
        """The files of a field, in order. A field that a browser sends empty, with no file chosen, counts for nothing.

        Raises InvalidRequest and TooLarge.
        """
        files = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
        if any(isinstance(value, str) for value in form.getlist(field)):
            detail = f"The field `{field}` holds text where a file is expected; {_NAME_IT}."
            raise InvalidRequest(detail, field=f"body.{field}")
        return [await self._file(file) for file in files if file.filename or file.size]

    async def _file(self, file: UploadFile) -> Upload:
        if file.size is None or file.size > self.max_bytes:
            raise self._too_large()
        return Upload(file.filename or None, await file.read())

    async def json(self, request: Request) -> bytes:
        """A body of JSON, not parsed. Raises TooLarge."""
        with self.metrics.stage("read"):
            data = await _whole(request, MAX_JSON_BYTES)
        if data is None:
            raise TooLarge(f"Queries as JSON may have {MAX_JSON_BYTES:,} bytes.", limit=MAX_JSON_BYTES)
        return data

    def _too_large(self) -> TooLarge:
        return TooLarge(f"A picture may have {self.max_bytes:,} bytes.", limit=self.max_bytes)


async def _whole(request: Request, max_bytes: int) -> bytes | None:
    """The body; None with the first byte beyond the limit."""
    data = bytearray()
    async for piece in request.stream():
        if len(data) + len(piece) > max_bytes:
            return None
        data += piece
    return bytes(data)


def is_raw_picture(kind: str) -> bool:
    """Whether a body of this type is taken as the picture itself; what it really is, decoding finds out."""
    return kind.startswith("image/") or kind in UNTYPED


def _no_file(names: Iterable[str]) -> str:
    there = sorted(set(names) - {"file"})
    hint = f" There are: {', '.join(there)[:200]}." if there else ""
    return f"Send the picture in the form field `file`.{hint}"
