"""Colour profiles (ICC): a picture in a wide gamut as the sRGB that models and screens take it for.

Profiles are parsed by LittleCMS, and only those of RGB pictures, of a bounded size, whose primaries aren't sRGB's
already: the same pixels come out of a picture with sRGB's profile and of one without any.
"""

import io
import zlib

from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 1024 * 1024
"""Profiles of cameras and screens have 500 bytes to 10 KB; those of scanners, with tables, some hundred."""

_SRGB = ((0.436, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139))
"""Its red, green and blue as XYZ under D50 (IEC 61966-2-1, adapted as ICC wants it)."""

_SAME = 0.005
"""Profiles of sRGB by several makers differ by less in each number; Display P3 differs by 0.02 and more."""

_RGB_SPACE = b"RGB "


def to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """An RGB picture of the given profile in sRGB; as it is where the profile can't be used or changes nothing."""
    if not _is_usable(profile):
        return picture
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _is_srgb(own):
            return picture
        converted = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        # A profile that can't be read is ignored, as browsers do.
        return picture
    return converted or picture


def _is_usable(profile: bytes) -> bool:
    return 128 < len(profile) <= MAX_PROFILE_BYTES and profile[16:20] == _RGB_SPACE and profile[36:40] == b"acsp"  # noqa: PLR2004 -- the header's length


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    core = profile.profile
    colours = (core.red_colorant, core.green_colorant, core.blue_colorant)
    return all(
        colour is not None and all(abs(one - other) < _SAME for one, other in zip(colour[0], expected, strict=True))
        for colour, expected in zip(colours, _SRGB, strict=True)
    )


def unpacked(iccp: bytes) -> bytes:
    """The profile in a PNG's iCCP chunk: a name, a zero, a method and what zlib packed; empty if it can't be read."""
    _, _, packed = iccp.partition(b"\0")
    try:
        return zlib.decompressobj().decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
