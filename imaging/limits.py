"""What a picture may cost."""

from pydantic import BaseModel, ConfigDict, Field

from imaging.errors import TooManyPixels


class DecodeLimits(BaseModel):
    """Upper bounds that hold before a pixel is decoded.

    A picture above `max_memory` (the estimated peak in bytes while it is decoded, beside the file itself) is
    refused as having too many pixels; how many that is depends on the format, see `imaging.raster`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=25 * 1024 * 1024, gt=0)
    max_pixels: int = Field(default=200_000_000, gt=0)
    max_side: int = Field(default=500_000, gt=0)
    max_memory: int = Field(default=1024**3, gt=0)


def check_area(width: int, height: int, limits: DecodeLimits) -> None:
    """Raises `TooManyPixels` for a side or an area above the limits."""
    if max(width, height) > limits.max_side:
        raise TooManyPixels(f"The picture is {width} × {height}; no side may exceed {limits.max_side:,} pixels.")
    if width * height > limits.max_pixels:
        raise TooManyPixels(f"The picture is {width} × {height}; at most {limits.max_pixels:,} pixels are allowed.")


def check_memory(memory: int, picture: str, limits: DecodeLimits) -> None:
    """Raises `TooManyPixels` where decoding this picture takes more bytes than allowed."""
    if memory > limits.max_memory:
        raise TooManyPixels(
            f"Decoding this {picture} takes {memory:,} bytes of memory; at most {limits.max_memory:,} are allowed."
        )
