"""Decoded pictures, reduced by whole factors to a little more than what was asked for, as RGB."""

from collections.abc import Callable

from PIL import Image

from imaging.colour import deep_range, on_ground, to_premultiplied, to_rgb

_STRIP_PIXELS = 250_000
"""Pictures are converted and reduced in strips of about this many pixels, since a conversion needs several
copies.
"""

_REDUCED_AT_ONCE = ("RGB", "L")


def factors(image: Image.Image, target: tuple[int, int]) -> tuple[int, int]:
    """By how much a picture is reduced across and down, so that it has no less than `target`."""
    return max(1, image.width // target[0]), max(1, image.height // target[1])


def reduced(image: Image.Image, target: tuple[int, int], *, inverted: bool = False) -> Image.Image:
    """A loaded picture as RGB, reduced to no less than `target`; `inverted` says that large samples are dark."""
    if image.has_transparency_data and not _is_opaque(image):
        small = _in_strips(image, target, "RGBa", to_premultiplied)
        if small.getchannel("a").getbbox():
            return on_ground(small)
        # An alpha channel that nobody wrote: browsers show such bitmaps as opaque.
        return _in_strips(image, target, "RGB", lambda strip: strip.convert("RGBA").convert("RGB"))
    if image.mode in _REDUCED_AT_ONCE:
        # Nothing has to be converted before, so nothing is copied in full.
        across, down = factors(image, target)
        small = image.reduce((across, down)) if max(across, down) > 1 else image.copy()
        return small if small.mode == "RGB" else small.convert("RGB")
    deep = deep_range(image, inverted=inverted)
    return _in_strips(image, target, "RGB", lambda strip: to_rgb(strip, deep))


def _is_opaque(image: Image.Image) -> bool:
    """Whether nothing of it is transparent, as in most screenshots: told of pictures with an alpha channel only."""
    rows = max(1, _STRIP_PIXELS // image.width)
    return image.mode == "RGBA" and all(
        image.crop((0, top, image.width, min(image.height, top + rows))).getchannel("A").getextrema() == (255, 255)
        for top in range(0, image.height, rows)
    )


def _in_strips(
    image: Image.Image, target: tuple[int, int], mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    across, down = factors(image, target)
    rows = down * max(1, _STRIP_PIXELS // (image.width * down))
    small = Image.new(mode, (-(-image.width // across), -(-image.height // down)))
    for top in range(0, image.height, rows):
        strip = convert(image.crop((0, top, image.width, min(image.height, top + rows))))
        small.paste(strip.reduce((across, down)), (0, top // down))
    return small
