"""Pictures out of a request's body: multipart files or one raw body, within the limits while they stream in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from query_api.errors import InvalidRequest, TooLarge, UnsupportedMediaType

MULTIPART = "multipart/form-data"
MAX_FIELD_BYTES = 64 * 1024
MAX_FIELDS = 32


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with a request."""

    name: str | None
    data: bytes


def media_type(request: Request) -> str:
    """The type of the body, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def read_form(request: Request, *, max_files: int) -> AsyncIterator[FormData]:
    """The multipart form. Large parts go to a temporary file as they come in, which is gone after the block."""
    if media_type(request) != MULTIPART:
        raise UnsupportedMediaType(f"Send the body as {MULTIPART}.")
    async with request.form(max_files=max_files, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES) as form:
        yield form


async def read_files(form: FormData, field: str, *, max_bytes: int) -> list[Upload]:
    """The files of a field, in order. A field that a browser sends empty, with no file chosen, counts for nothing."""
    files = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
    if any(isinstance(value, str) for value in form.getlist(field)):
        raise InvalidRequest(f"The field `{field}` holds text where a file is expected.", field=f"body.{field}")
    chosen = [file for file in files if file.filename or file.size]
    return [await _read(file, max_bytes=max_bytes) for file in chosen]


async def _read(file: UploadFile, *, max_bytes: int) -> Upload:
    if file.size is None or file.size > max_bytes:
        raise _too_large(max_bytes)
    return Upload(file.filename or None, await file.read())


async def read_raw(request: Request, *, max_bytes: int) -> Upload:
    """The body itself as one file. Raises TooLarge with the first byte beyond the limit."""
    data = bytearray()
    async for piece in request.stream():
        if len(data) + len(piece) > max_bytes:
            raise _too_large(max_bytes)
        data += piece
    return Upload(None, bytes(data))


def is_raw_picture(kind: str) -> bool:
    """Whether a body of this type is taken as the picture itself; what it really is, decoding finds out."""
    return kind.startswith("image/") or kind in ("", "application/octet-stream")


async def read_pictures(request: Request, *, max_files: int, max_bytes: int) -> Sequence[Upload]:
    """One picture or more, however they were sent. Raises InvalidRequest, TooLarge or UnsupportedMediaType."""
    kind = media_type(request)
    if kind == MULTIPART:
        async with read_form(request, max_files=max_files) as form:
            uploads = await read_files(form, "file", max_bytes=max_bytes)
            if not uploads:
                raise InvalidRequest(_no_file(form.keys()), field="body.file")
            return uploads
    if is_raw_picture(kind):
        upload = await read_raw(request, max_bytes=max_bytes)
        if not upload.data:
            raise InvalidRequest("The body is empty; send a picture.", field="body")
        return [upload]
    raise UnsupportedMediaType(
        f"Send a picture as {MULTIPART} with the field `file`, or as the body with its image type, not as {kind}."
    )


def _no_file(names: Iterable[str]) -> str:
    there = sorted(set(names) - {"file"})
    hint = f" There are: {', '.join(there)[:200]}." if there else ""
    return f"Send the picture in the form field `file`.{hint}"


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"A picture may have {max_bytes:,} bytes.", limit=max_bytes)
