"""Views of a query: what lies within a frame, and parts."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageOps

from bench.accuracy.screens import desktop, phone
from imaging.decoding import decode
from imaging.raster import read
from imaging.views import WHOLE, View, decode_with_views, frame, views
from ops.gallery.make import paint
from tests.harness.picture_files import LIMITS, SMALL, saved

PICTURE = paint(9, 0)[1].convert("RGB")
WITHOUT_GROUND = paint(0, 0)[1].convert("RGB")


def seen(image: Image.Image, *, parts: bool) -> list[View]:
    """The views of a picture's file."""
    return views(read(saved(image, "PNG"), LIMITS, *SMALL.reduced_size), SMALL, parts=parts)


@pytest.mark.parametrize("colour", ["white", "black", "#2b4c7e"])
def test_a_border_is_cut_off(colour: str) -> None:
    """Of a picture within one colour, the frame is where the picture begins and ends, to 2 % of a side."""
    framed = frame(ImageOps.expand(PICTURE, 140, colour))
    assert framed is not None
    assert np.allclose(framed, (140 / 840, 140 / 1120, 700 / 840, 980 / 1120), atol=0.02)


@pytest.mark.parametrize(("screen", "share"), [(phone, 0.643), (desktop, 0.131)])
def test_a_screenshot_s_picture_is_cut_out(screen: object, share: float) -> None:
    """The one large block on a phone's or a desktop's screen is the picture."""
    assert callable(screen)
    left, top, right, bottom = frame(screen(PICTURE, random.Random(3))) or WHOLE
    assert (right - left) * (bottom - top) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("image", [WITHOUT_GROUND, Image.new("RGB", (300, 200), "teal"), Image.new("RGB", (1, 1))])
def test_what_has_no_frame_is_seen_as_a_whole(image: Image.Image) -> None:
    """A picture that fills itself, one flat colour and a single pixel have one view, if no parts are asked for."""
    [whole] = seen(image, parts=False)
    assert (whole.name, whole.box) == ("whole", WHOLE)


def test_the_first_view_is_what_is_indexed() -> None:
    """The whole picture's pixels are those that `decode` gives, to the last bit, with parts and without."""
    data = saved(WITHOUT_GROUND, "PNG")
    image, beside = decode_with_views(data, LIMITS, SMALL, parts=True)
    assert np.array_equal(image.pixels, decode(data, LIMITS, SMALL).pixels)
    assert np.array_equal(seen(WITHOUT_GROUND, parts=True)[0].pixels, image.pixels)
    assert len(beside) == 16


def test_parts_cover_the_picture() -> None:
    """Sixteen parts lie over each other, so that a picture of a fifth of each side is wholly in one of them."""
    boxes = [view.box for view in seen(PICTURE, parts=True) if view.name == "part"]
    for x, y in np.random.default_rng(5).uniform(0, 0.8, (50, 2)):
        assert any(
            left <= x and top <= y and x + 0.2 <= right and y + 0.2 <= bottom for left, top, right, bottom in boxes
        )


@pytest.mark.parametrize(("size", "count"), [((200, 400), 3), ((800, 200), 7), ((100, 3000), 8)])
def test_long_pictures_are_cut_into_tiles(size: tuple[int, int], count: int) -> None:
    """Squares along the longer side, from end to end without a gap, and never more than eight."""
    boxes = [view.box for view in seen(PICTURE.resize(size), parts=True) if view.name == "tile"]
    assert len(boxes) == count
    start, end = (0, 2) if size[0] > size[1] else (1, 3)
    assert boxes[0][start] == 0
    assert boxes[-1][end] == pytest.approx(1)
    assert all(one[end] > other[start] for one, other in pairwise(boxes))


@pytest.mark.parametrize("size", [(1, 1), (63, 200), (200, 63)])
def test_a_tiny_picture_is_seen_as_a_whole(size: tuple[int, int]) -> None:
    """Its parts, of a few pixels each, would cost as much as those of any other picture and show nothing."""
    assert {view.name for view in seen(PICTURE.resize(size), parts=True)} <= {"whole", "framed"}


def test_a_part_shows_what_is_there() -> None:
    """The pixels of a view are those of the picture that is cut out of it."""
    coloured = Image.new("RGB", (400, 400), "red")
    coloured.paste("blue", (200, 200, 400, 400))
    corner = next(view for view in seen(coloured, parts=True) if view.box[:2] == pytest.approx((0.6, 0.6)))
    assert (corner.pixels == (0, 0, 255)).all()
