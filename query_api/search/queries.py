"""What is searched for, from whatever names it: a picture's bytes, an indexed image, a URL, a vector."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from imaging.thumbnails import CONTENT_TYPE
from imaging.views import Box, View
from query_api.errors import InvalidRequest, NotFound, NotIndexed, UrlSearchDisabled
from query_api.metrics import Metrics
from query_api.pictures.remembered import Remembered, RememberedUploads
from query_api.pictures.uploaded import Upload, UploadedPictures
from query_api.search.live_model import Model
from query_api.search.stored_vectors import stored_vectors
from query_api.sharing.cpu import EmbeddingQueue, Vector
from query_api.sharing.gathered import GatheredCatalog
from schemas.records import IMAGE_ID_PATTERN, ImageState, ObjectRef
from stores.catalog.reading.ports import CatalogImage
from stores.urls import UrlFetcher

_ID = re.compile(IMAGE_ID_PATTERN)
PREVIEW_SIDE: Final = 640
"""Pixels of the longer side of a preview."""


class QueryKind(StrEnum):
    """What a query was made from."""

    PICTURE = "picture"
    IMAGE = "image"
    URL = "url"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A part of a picture, by shares of its sides (left, top, right, bottom), and its unit vector."""

    box: Box
    vector: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A unit vector to search for, and what is known of the picture behind it.

    ``sha256`` is that of ``data``, or of the image's file. ``original_sha256`` is a client's word for the file that it
    made ``data`` of: nothing that others see may be kept under it.
    """

    kind: QueryKind
    vector: Vector
    name: str | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    image: CatalogImage | None = None
    data: bytes | None = None
    """The file itself, where it came with the request."""
    parts: Sequence[Part] = ()
    original_sha256: str | None = None
    preview: str | None = None
    """A small JPEG of the picture as a data: URL, where that was asked for."""
    upload: str | None = None
    """The name that the picture is remembered by."""

    @property
    def file_sha256(self) -> str | None:
        """The digest of the file that the client searches with: contents with it are the same file."""
        return self.original_sha256 or self.sha256

    @property
    def vectors(self) -> list[Vector]:
        """That of the whole, then those of its parts."""
        return [self.vector, *(part.vector for part in self.parts)]


@dataclass(frozen=True, slots=True)
class Queries:
    """Makes queries of whatever names a picture. ``urls`` is None where searching by URL is off."""

    catalog: GatheredCatalog
    pictures: UploadedPictures
    embedding: EmbeddingQueue
    remembered: RememberedUploads
    urls: UrlFetcher | None
    metrics: Metrics

    async def of_uploads(
        self, uploads: Sequence[Upload], model: Model, *, parts: bool = False, kind: QueryKind = QueryKind.PICTURE
    ) -> list[Query]:
        """One query per picture, which is also seen without its frame, and in `parts` if these are asked for.

        Raises UnreadablePicture, TooLarge or Overloaded.
        """
        seen = await self.pictures.decoded(uploads, model.embedder.pixel_spec, parts=parts)
        vectors = await self.embedding.embed(model.embedder, [each.image.pixels for each in seen])
        # One picture's parts after the other's: all together might be more than may wait.
        parts_of = [await self._parts(each.views, model) for each in seen]
        return [
            Query(
                kind,
                vector,
                upload.name,
                digest.sha256,
                image.width,
                image.height,
                image.format,
                data=upload.data,
                parts=beside,
                original_sha256=upload.original_sha256,
            )
            for upload, (image, _, digest), vector, beside in zip(uploads, seen, vectors, parts_of, strict=True)
        ]

    async def _parts(self, views: Sequence[View], model: Model) -> list[Part]:
        vectors = await self.embedding.embed(model.embedder, [view.pixels for view in views])
        return [Part(view.box, vector) for view, vector in zip(views, vectors, strict=True)]

    async def of_remembered(self, name: str, model: Model, *, parts: bool = False) -> Query:
        """A picture that is remembered. Raises UploadForgotten and what a picture can."""
        found = self.remembered.get(name)
        kind = QueryKind.URL if found.by_url else QueryKind.PICTURE
        [query] = await self.of_uploads([found.upload], model, parts=parts, kind=kind)
        return replace(query, upload=name)

    async def of_url(self, url: str, model: Model, *, parts: bool = False) -> Query:
        """Fetch the picture and embed it. Raises UrlSearchDisabled, RefusedUrl and what a picture can."""
        if self.urls is None:
            raise UrlSearchDisabled("This service does not fetch pictures by URL (api.search_by_url is off).")
        fetched = await self.urls.fetch(url, max_bytes=self.pictures.limits.max_bytes)
        [query] = await self.of_uploads([Upload(url, fetched.data)], model, parts=parts, kind=QueryKind.URL)
        return query

    async def of_key(self, bucket: str, key: str, model: Model) -> Query:
        """The indexed object under a key. Raises NotFound or NotIndexed."""
        return await self.of_image(ObjectRef(bucket, key).image_id, model)

    async def of_image(self, image_id: str, model: Model) -> Query:
        """An indexed image, by the vector in the model's collection. Raises NotFound or NotIndexed."""
        with self.metrics.stage("sql"):
            found = await existing_image(image_id, self.catalog)
        state, reason = found.state
        if state is ImageState.REJECTED:
            raise NotIndexed(f"This picture was rejected: {reason}.", state=str(state), reason=reason)
        content = found.content
        if content is None:
            raise _pending()
        with self.metrics.stage("vectors"):
            vectors = await stored_vectors(model.vectors, [content.vector_id])
        vector = vectors.get(content.vector_id)
        if vector is None:
            raise _pending()
        return Query(
            QueryKind.IMAGE, vector, found.image.key, content.sha256, content.width, content.height, content.format,
            found,
        )  # fmt: skip

    async def with_previews(self, queries: Sequence[Query]) -> list[Query]:
        """Each with a preview of its picture, if that came with the request. Raises Overloaded."""
        return await asyncio.gather(*[self._with_preview(query, index) for index, query in enumerate(queries)])

    async def _with_preview(self, query: Query, picture: int) -> Query:
        if query.data is None:
            return query
        jpeg = await self.pictures.thumbnail(query.data, PREVIEW_SIDE, picture=picture)
        return replace(query, preview=f"data:{CONTENT_TYPE};base64,{b64encode(jpeg).decode()}")

    def remember(self, query: Query) -> Query:
        """With the name by which the picture that came with the request can be searched for again."""
        if query.data is None or query.upload is not None:
            return query
        picture = Remembered(Upload(query.name, query.data, query.original_sha256), by_url=query.kind is QueryKind.URL)
        return replace(query, upload=self.remembered.keep(picture))


def from_vector(values: Sequence[float], model: Model) -> Query:
    """A raw vector of the live model, of any length but zero. Raises InvalidRequest."""
    if len(values) != model.embedder.dimension:
        raise InvalidRequest(
            f"The vector has {len(values)} numbers; {model.embedder.model_id} has {model.embedder.dimension}.",
            field="body.queries.vector",
        )
    vector = np.asarray(values, dtype=np.float64)
    largest = float(np.abs(vector).max())
    if not np.isfinite(largest) or largest == 0:
        raise InvalidRequest("The vector needs finite numbers that are not all zero.", field="body.queries.vector")
    # Scaled first, so that squares of huge or tiny numbers stay within range.
    vector /= largest
    return Query(QueryKind.VECTOR, (vector / np.linalg.norm(vector)).astype(np.float32))


async def existing_image(image_id: str, catalog: GatheredCatalog) -> CatalogImage:
    """The image with this id. Raises NotFound, also for what can't be an id."""
    found = await catalog.image(image_id) if _ID.fullmatch(image_id) else None
    if found is None:
        raise NotFound(f"There is no image {image_id[:64]}.")
    return found


def _pending() -> NotIndexed:
    return NotIndexed("This picture is not indexed yet.", headers={"Retry-After": "2"}, state="pending", reason=None)
