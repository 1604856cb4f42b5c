"""``GET /v1/images`` and ``GET /v1/images/{id}``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from query_api.answers import Image, ImageList, image_of, images_of
from query_api.http.dependencies import TheGatheredCatalog, TheLinks, TheMetrics, TheOverviews
from query_api.http.paging import MAX_TOKEN_LENGTH, make_token, read_token
from query_api.http.parameters import ListingWhere
from query_api.http.problems import documented
from query_api.search.queries import existing_image
from query_api.sharing.overviews import ListPage
from stores.catalog.reading.ports import CatalogImage, ImageOrder, Position

router = APIRouter(prefix="/v1", tags=["images"])


@router.get("/images", response_model=ImageList, responses=documented(422), summary="List images")
async def list_images(
    *,
    where: ListingWhere,
    overviews: TheOverviews,
    metrics: TheMetrics,
    links: TheLinks,
    limit: Annotated[int, Query(description="Images on the page.", ge=1, le=500)] = 50,
    order: Annotated[
        ImageOrder, Query(description="By when they were first seen, or by bucket and key.")
    ] = ImageOrder.NEWEST,
    page_token: Annotated[
        str | None,
        Query(description="From the page before, with the same filters and order.", max_length=MAX_TOKEN_LENGTH),
    ] = None,
    count: Annotated[bool, Query(description="Also count all that match.")] = False,
) -> ImageList:
    """Images that match all filters. By key, external id, SHA-256 or MD5 the answer has all images with it."""
    listing = f"images {order} {where}"
    after = Position(*read_token(page_token, listing, (int, str, str))) if page_token else None
    with metrics.stage("sql"):
        images = await overviews.page.get(ListPage(where, order, after, limit + 1))
        total = await overviews.count.get(where) if count else None
    more = len(images) > limit
    return ImageList(
        results=images_of(images[:limit], links),
        next_page_token=make_token(listing, _position(images[limit - 1])) if more else None,
        total=total,
    )


def _position(last: CatalogImage) -> list[int | str]:
    return [last.image.seq, last.image.bucket, last.image.key]


@router.get("/images/{image_id}", response_model=Image, responses=documented(404), summary="Get one image")
async def get_image(
    image_id: Annotated[str, Path(description="An image's id.")], catalog: TheGatheredCatalog, links: TheLinks
) -> Image:
    """One image, with its state and, where it was rejected, the reason."""
    found = await existing_image(image_id, catalog)
    return image_of(found.image, found.content, links)
