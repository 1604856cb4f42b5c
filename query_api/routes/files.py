"""The picture itself and its thumbnail. An image's id is all that a client can name; paths it can't."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from imaging.decoding import content_type_of
from imaging.errors import UndecodableImage
from query_api.errors import NotFound, Unavailable
from query_api.http.access import ApiKeys, TheKeys
from query_api.http.byte_ranges import parse_range
from query_api.http.dependencies import TheGatheredCatalog, TheObjects, TheSettings, TheThumbnails
from query_api.http.etags import is_current, quoted
from query_api.http.links import version_of
from query_api.http.problems import documented
from query_api.search.queries import existing_image
from schemas.errors import PreconditionFailed
from schemas.records import ANY_TYPE, ImageRecord, ImageState, ObjectState
from stores.catalog.reading.ports import CatalogImage
from stores.objects.ports import ObjectReader

router = APIRouter(prefix="/v1/images/{image_id}", tags=["files"])

FILE_CSP = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""Should a browser take a file for a document all the same: no script, no origin, nothing loaded."""
_FOREVER = "max-age=31536000, immutable"
_ASK_AGAIN = "private, no-cache"

ImageId = Annotated[str, Path(description="An image's id.")]
_FILE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"image/*": {}, ANY_TYPE: {}}},
    206: {"description": "The asked range of it.", "content": {"image/*": {}, ANY_TYPE: {}}},
    304: {"description": "The client's copy is current."},
    307: {"description": "A link to the object store that expires (`api.file_delivery: redirect`)."},
    **documented(404, 416, 422),
}


@router.head("/file", include_in_schema=False)
@router.get("/file", response_class=Response, responses=_FILE_ANSWERS, summary="The picture as it was uploaded")
async def get_file(
    image_id: ImageId,
    request: Request,
    catalog: TheGatheredCatalog,
    objects: TheObjects,
    settings: TheSettings,
    download: Annotated[bool, Query(description="Have browsers save it under its name.")] = False,
) -> Response:
    """The bytes, also in ranges. What was rejected is never shown by a browser, only saved."""
    found = await existing_image(image_id, catalog)
    kind = _safe_type(found)
    api = settings.api
    if api.file_delivery == "redirect" and kind != ANY_TYPE and not download:
        link = await objects.presigned_url(found.image.ref, expires_s=api.link_expires_s, content_type=kind)
        if link is not None:
            return RedirectResponse(link, 307, {"Cache-Control": "private, no-store"})
    state = await objects.head(found.image.ref)
    if state is None:
        raise _gone(found.image)
    headers = {
        "Content-Type": kind,
        "ETag": quoted(state.etag),
        "Accept-Ranges": "bytes",
        "Cache-Control": _ASK_AGAIN,
        "Content-Security-Policy": FILE_CSP,
        "Content-Disposition": _disposition(found.image.key, save=download or kind == ANY_TYPE),
    }
    if is_current(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return await _delivered(request, found.image, state, headers, objects)


async def _delivered(
    request: Request, image: ImageRecord, state: ObjectState, headers: dict[str, str], objects: ObjectReader
) -> Response:
    condition = request.headers.get("if-range")
    wanted = None if condition and condition != headers["ETag"] else request.headers.get("range")
    part = parse_range(wanted, state.size)
    status = 200 if part is None else 206
    if part is not None:
        headers["Content-Range"] = part.header
    headers["Content-Length"] = str(part.length if part else state.size)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    first, length = (part.first, part.length) if part else (0, state.size)
    pieces = objects.stream(image.ref, offset=first, length=length, etag=state.etag)
    try:
        # What fails before the first piece can still be answered with a problem.
        beginning = await anext(pieces, b"")
    except PreconditionFailed as error:
        raise Unavailable("The file is being replaced at this moment.", dependency="objects") from error
    return StreamingResponse(_chained(beginning, pieces), status, headers)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _safe_type(found: CatalogImage) -> str:
    """The type that the bytes were found to have. Bytes that nobody decoded are of no type, whatever was claimed."""
    content = found.content
    if found.state[0] is ImageState.REJECTED or content is None or content.format is None:
        return ANY_TYPE
    return content_type_of(content.format)  # type: ignore[arg-type]


def _disposition(key: str, *, save: bool) -> str:
    """RFC 6266, with the name in UTF-8; nothing in a key can break out of the header."""
    name = key.rstrip("/").rpartition("/")[2] or "picture"
    return f"{'attachment' if save else 'inline'}; filename*=UTF-8''{quote(name, safe='')}"


def _gone(image: ImageRecord) -> NotFound:
    return NotFound(f"The object {image.ref} was removed a moment ago.")


_THUMBNAIL_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "A JPEG.", "content": {"image/jpeg": {}}},
    304: {"description": "The client's copy is current."},
    **documented(404, 422),
}


@router.head("/thumbnail", include_in_schema=False)
@router.get("/thumbnail", response_class=Response, responses=_THUMBNAIL_ANSWERS, summary="A small JPEG of the picture")
async def get_thumbnail(
    image_id: ImageId,
    request: Request,
    catalog: TheGatheredCatalog,
    thumbnails: TheThumbnails,
    keys: TheKeys,
    size: Annotated[Literal["160", "320", "640"], Query(description="The longest side in pixels.")] = "320",
    v: Annotated[
        str | None,
        Query(
            description="The version that `thumbnail_url` names; with it the answer may be kept for ever.",
            max_length=64,
        ),
    ] = None,
) -> Response:
    """Made on demand and kept in memory."""
    found = await existing_image(image_id, catalog)
    image = found.image
    state, reason = found.state
    if state is ImageState.REJECTED or image.sha256 is None:
        raise NotFound(f"There is no thumbnail: the picture is {state}{f' ({reason})' if reason else ''}.")
    tag = quoted(f"{version_of(image.sha256)}-{size}")
    if is_current(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": _caching(keys, v, image.sha256)})
    try:
        made = await thumbnails.get(image, int(size), request.state.client)
    except UndecodableImage as error:
        raise NotFound(f"There is no thumbnail: {error.detail}", reason=error.reason) from error
    if made is None:
        raise _gone(image)
    headers = {
        "ETag": quoted(f"{version_of(made.sha256)}-{size}"),
        "Cache-Control": _caching(keys, v, made.sha256),
        "Content-Security-Policy": FILE_CSP,
    }
    return Response(made.value, headers=headers, media_type="image/jpeg")


def _caching(keys: ApiKeys, version: str | None, sha256: str) -> str:
    """Only an address that names the version it shows stays right for ever; what needs a key is for its holder."""
    if version != version_of(sha256):
        return _ASK_AGAIN
    return f"{'private' if keys.required else 'public'}, {_FOREVER}"
