"""What is searched for, from whatever names it: a picture's bytes, an indexed image, a URL, a vector."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from imaging.decoding import DecodedImage, decode
from imaging.digest import Digest, digest_of
from imaging.errors import TooManyBytes, UndecodableImage
from query_api.cpu import Vector
from query_api.errors import InvalidRequest, NotFound, NotIndexed, TooLarge, UnreadablePicture, UrlSearchDisabled
from query_api.live_model import Model
from query_api.services import Services
from query_api.stored_vectors import stored_vectors
from query_api.uploads import Upload
from schemas.records import ImageState, ObjectRef
from stores.catalog.reading.ports import CatalogImage

_ID = re.compile("[0-9a-f]{32}")


class QueryKind(StrEnum):
    """What a query was made from."""

    PICTURE = "picture"
    IMAGE = "image"
    URL = "url"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A unit vector to search for, and what is known of the picture behind it. ``sha256`` finds the same bytes."""

    kind: QueryKind
    vector: Vector
    name: str | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    image: CatalogImage | None = None


async def from_uploads(uploads: Sequence[Upload], services: Services, model: Model) -> list[Query]:
    """One query per picture. Raises UnreadablePicture, TooLarge or Overloaded."""
    return await _embedded(uploads, QueryKind.PICTURE, services, model)


async def _embedded(uploads: Sequence[Upload], kind: QueryKind, services: Services, model: Model) -> list[Query]:
    decoded = await _all([_decoded(upload, index, services, model) for index, upload in enumerate(uploads)])
    vectors = await services.embedding.embed(model.embedder, [image.pixels for image, _ in decoded])
    return [
        Query(kind, vector, upload.name, digest.sha256, image.width, image.height, image.format)
        for upload, (image, digest), vector in zip(uploads, decoded, vectors, strict=True)
    ]


async def _all[T](work: Sequence[Awaitable[T]]) -> list[T]:
    """All results in order; the first failure cancels the rest, so that a refused request stops costing."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def _decoded(upload: Upload, index: int, services: Services, model: Model) -> tuple[DecodedImage, Digest]:
    def work() -> tuple[DecodedImage, Digest]:
        return decode(upload.data, services.limits, model.embedder.pixel_spec), digest_of(upload.data)

    try:
        with services.metrics.stage("decode"):
            return await services.pool.run(work)
    except TooManyBytes as error:
        raise TooLarge(error.detail, picture=index) from error
    except UndecodableImage as error:
        raise UnreadablePicture(error.detail, reason=error.reason, picture=index) from error


async def from_url(url: str, services: Services, model: Model) -> Query:
    """Fetch the picture and embed it. Raises UrlSearchDisabled, RefusedUrl, UrlNotFetched and what a picture can."""
    if services.ports.urls is None:
        raise UrlSearchDisabled("This service does not fetch pictures by URL (api.search_by_url is off).")
    fetched = await services.ports.urls.fetch(url, max_bytes=services.limits.max_bytes)
    [query] = await _embedded([Upload(url, fetched.data)], QueryKind.URL, services, model)
    return query


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


async def from_key(bucket: str, key: str, services: Services) -> Query:
    """The indexed object under a key. Raises NotFound or NotIndexed."""
    return await from_image(ObjectRef(bucket, key).image_id, services)


async def from_image(image_id: str, services: Services) -> Query:
    """An indexed image, by the vector that is stored for it. Raises NotFound or NotIndexed."""
    with services.metrics.stage("sql"):
        found = await existing_image(image_id, services)
    state, reason = found.state
    if state is ImageState.REJECTED:
        raise NotIndexed(f"This picture was rejected: {reason}.", state=str(state), reason=reason)
    content = found.content
    if content is None:
        raise _pending()
    with services.metrics.stage("vectors"):
        found_vectors = await stored_vectors(services.vectors, [content.vector_id])
    vector = found_vectors.get(content.vector_id)
    if vector is None:
        raise _pending()
    return Query(
        QueryKind.IMAGE, vector, found.image.key, content.sha256, content.width, content.height, content.format, found
    )


def _pending() -> NotIndexed:
    return NotIndexed("This picture is not indexed yet.", headers={"Retry-After": "2"}, state="pending", reason=None)


async def existing_image(image_id: str, services: Services) -> CatalogImage:
    """The image with this id. Raises NotFound, also for what can't be an id."""
    found = await services.catalog.image(image_id) if _ID.fullmatch(image_id) else None
    if found is None:
        raise NotFound(f"There is no image {image_id[:64]}.")
    return found
