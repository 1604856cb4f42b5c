"""``POST /v1/thumbnail``: a small JPEG of an uploaded picture, for browsers that can't show it themselves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from imaging.thumbnails import CONTENT_TYPE
from query_api.http.dependencies import TheBodyReader, ThePictures
from query_api.http.problems import documented
from query_api.routes.files import FILE_CSP

router = APIRouter(prefix="/v1", tags=["files"])

_BINARY = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {
    "required": True,
    "description": "One picture as a form or as the body itself.",
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY}},
        },
        "image/*": {"schema": _BINARY},
        "application/octet-stream": {"schema": _BINARY},
    },
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "A JPEG.", "content": {CONTENT_TYPE: {}}},
    **documented(400, 408, 413, 415, 422),
}


@router.post(
    "/thumbnail",
    response_class=Response,
    responses=_ANSWERS,
    openapi_extra={"requestBody": _BODY},
    summary="A small JPEG of an uploaded picture",
)
async def thumbnail_of_upload(
    request: Request,
    body: TheBodyReader,
    pictures: ThePictures,
    size: Annotated[Literal["160", "320", "640"], Query(description="The longest side in pixels.")] = "320",
) -> Response:
    """What the picture looks like, for HEIC and others that few browsers show. Nothing of it is kept."""
    [upload] = await body.pictures(request, most=1)
    jpeg = await pictures.thumbnail(upload.data, int(size))
    headers = {"Cache-Control": "private, no-store", "Content-Security-Policy": FILE_CSP}
    return Response(jpeg, headers=headers, media_type=CONTENT_TYPE)
