"""The object store that the settings name."""

from __future__ import annotations

from schemas.settings import ObjectSettings
from stores.objects.folder import FolderObjects
from stores.objects.s3 import S3Objects


def open_objects(settings: ObjectSettings) -> S3Objects | FolderObjects:
    """An adapter that connects on first use; close it with ``close()``."""
    return FolderObjects(settings.folder) if settings.backend == "folder" else S3Objects(settings)
