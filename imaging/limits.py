"""What a picture may cost."""

from pydantic import BaseModel, ConfigDict, Field


class DecodeLimits(BaseModel):
    """Upper bounds that hold before a pixel is decoded.

    A picture above `max_memory` (the estimated peak in bytes while it is decoded, beside the file itself) is
    refused as having too many pixels; how many that is depends on the format, see `imaging.raster`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=25 * 1024 * 1024, gt=0)
    max_pixels: int = Field(default=100_000_000, gt=0)
    max_side: int = Field(default=65_535, gt=0)
    max_memory: int = Field(default=1024**3, gt=0)
