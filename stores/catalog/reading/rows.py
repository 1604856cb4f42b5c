"""A joined row of an image and its content, told apart by a prefix: both tables have a ``bucket`` and more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement

from schemas.records import ContentRecord
from schemas.tables import contents, images
from stores.catalog.reading.ports import CatalogImage
from stores.catalog.rows import content_record, image_record

_CONTENT = "content__"


def joined_columns() -> list[ColumnElement[Any]]:
    """All columns of both tables, those of the content under a prefix."""
    return [*images.c, *[column.label(_CONTENT + column.name) for column in contents.c]]


def joined_record(row: Mapping[str, Any]) -> CatalogImage:
    """Image and content of a joined row."""
    return CatalogImage(image_record(row[column.name] for column in images.c), joined_content(row))


def joined_content(row: Mapping[str, Any]) -> ContentRecord | None:
    """The content of a joined row, if the image has one."""
    if row[_CONTENT + "sha256"] is None:
        return None
    return content_record(row[_CONTENT + column.name] for column in contents.c)
