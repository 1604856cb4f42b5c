"""Pictures that the project paints itself, for a first look at Twinlens without any photographs at hand."""

from ops.gallery.make import GENRES, make_gallery

__all__ = ["GENRES", "make_gallery"]
