"""What makes a copy: local features say where one picture lies on the other, and what lies there has to look alike."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from bench.accuracy.screens import NEGATIVES
from bench.accuracy.transforms import TRANSFORMS, as_jpeg, transformed
from imaging.comparing import Comparable, comparable, compared, open_after_quick, verified
from imaging.likeness import differing
from imaging.limits import DecodeLimits
from imaging.local_features import CLOSE, QUICK
from imaging.local_match import LocalMatch
from ops.gallery.make import paint


@cache
def painted(number: int) -> Image.Image:
    """A painted map (9), skyline (2), poster (4), and so on: see ops.gallery."""
    return paint(number, 0)[1].convert("RGB")


def looked_at(image: Image.Image) -> Comparable:
    """What is kept of a picture."""
    return comparable(as_jpeg(image, 88), DecodeLimits())


def lying(*, mirrored: bool = False, corner: tuple[float, float] = (0, 0), side: float = 1) -> LocalMatch:
    """A match that says that the query lies on the other like that."""
    (left, top), across = corner, -side if mirrored else side
    begin = left + side if mirrored else left
    outline = tuple((begin + x * across, top + y * side) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1)))
    matrix = (across, 0.0, begin, 0.0, side, top, 0.0, 0.0, 1.0)
    return LocalMatch(9, 0.9, matrix, 1.0, side**2, mirrored, outline, agrees=True, is_copy=True)  # type: ignore[arg-type]


@cache
def chance(number: int) -> Image.Image:
    """Something everywhere, and each number something else."""
    coarse = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
    return Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)


def differs(query: Image.Image, other: Image.Image, match: LocalMatch | None = None) -> float:
    """How much of two pictures differs that lie on each other, -1 if that can't be told."""
    found = differing(match or lying(), *(image.resize((160, 120), Image.Resampling.BOX) for image in (query, other)))
    return -1 if found is None else found


@pytest.mark.parametrize("name", sorted(TRANSFORMS.keys() - {"inset-35", "crop-30", "desktop-screenshot"}))
def test_a_copy_is_one_whatever_was_done_to_it(name: str) -> None:
    """Of all transforms that `make accuracy` measures, but for three that small pictures don't always survive."""
    data = transformed(name, 3, painted(9), painted(2))
    found = verified(comparable(data, DecodeLimits()), looked_at(painted(9)))
    assert found is not None
    assert found.is_copy


@pytest.mark.parametrize("kind", sorted(NEGATIVES))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pictures_of_one_kind_are_no_copies(kind: str, seed: int) -> None:
    """Neither pages, chats, codes and receipts, of which points lie on each other by chance, nor forms with the same
    print: what was entered differs.
    """
    one, other = (looked_at(NEGATIVES[kind](random.Random(number))) for number in (seed, seed + 10))
    found = verified(one, other)
    assert found is None or not found.is_copy
    assert compared(one, other).changes == ()


def test_a_copy_of_a_form_is_one() -> None:
    """With words put on it, too: only where few of the points agree is it looked at what differs."""
    form = NEGATIVES["forms"](random.Random(1))
    for name in ("jpeg-10", "text", "stickers", "phone-screenshot"):
        found = verified(comparable(transformed(name, 1, form, form), DecodeLimits()), looked_at(form))
        assert found is not None
        assert found.is_copy, name


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_quick_look_is_never_too_sure(seed: int) -> None:
    """Of forms with other entries, of which more points agree on a small thumbnail, it leaves open what they are."""
    one, other = (
        comparable(as_jpeg(NEGATIVES["forms"](random.Random(number)), 88), DecodeLimits(), QUICK)
        for number in (seed, seed + 10)
    )
    found = verified(one, other)
    assert found is not None
    assert (found.agrees, found.is_copy) == (True, False)
    assert open_after_quick([replace(found, is_copy=True), None, found]) == [2]
    assert open_after_quick([None, found]) == [0, 1]


@pytest.mark.parametrize("name", ["jpeg-10", "mirrored", "crop-70", "grey", "turned-15", "squash", "stickers"])
def test_a_quick_look_is_enough_for_most_copies(name: str) -> None:
    """It says what a close one says, of which the place is hardly more exact."""
    files = transformed(name, 3, painted(9), painted(2)), as_jpeg(painted(9), 88)
    quick, close = (verified(*(comparable(data, DecodeLimits(), look) for data in files)) for look in (QUICK, CLOSE))
    assert quick is not None
    assert close is not None
    assert (quick.is_copy, quick.mirrored) == (close.is_copy, close.mirrored) == (True, name == "mirrored")
    assert np.allclose(quick.outline, close.outline, atol=0.02)


def test_what_looks_alike_is_a_copy_though_few_points_agree() -> None:
    """A form that was squashed: half of its points agree with others, and nothing differs where it lies."""
    form = NEGATIVES["forms"](random.Random(0))
    one, other = looked_at(form.resize((round(0.65 * form.width), form.height))), looked_at(form)
    found = verified(one, other)
    assert found is not None
    assert found.is_copy


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        ImageOps.grayscale,
        lambda image: ImageEnhance.Contrast(image).enhance(0.4),
        lambda image: image.point(lambda level: level // 3),
        lambda image: image.resize((60, 45)),
    ],
)
def test_light_and_size_make_no_difference(change: Callable[[Image.Image], Image.Image]) -> None:
    """Tiles are compared by how their levels go together."""
    assert differs(chance(1), change(chance(1)).convert("RGB")) == pytest.approx(0, abs=0.02)


def test_what_is_covered_differs_in_its_share() -> None:
    """A third of the picture replaced by another one's."""
    other = chance(1).copy()
    other.paste(chance(2).crop((0, 0, 320, 80)), (0, 0))
    assert differs(chance(1), other) == pytest.approx(1 / 3, abs=0.05)
    assert differs(chance(1), chance(2)) > 0.9


def test_parts_are_compared_where_they_lie() -> None:
    """A crop lies within its picture, either way round, and mirrored pictures on each other."""
    crop, there = chance(1).crop((80, 60, 240, 180)), lying(corner=(0.25, 0.25), side=0.5)
    assert differs(crop, chance(1), there) == 0
    assert differs(chance(1), crop, there.inverse()) == 0
    assert differs(crop, chance(1), lying(side=0.5)) > 0.9
    assert differs(ImageOps.mirror(chance(1)), chance(1), lying(mirrored=True)) == 0


def test_of_plain_pictures_nothing_is_said() -> None:
    """Nor of what hardly lies on each other."""
    plain = Image.new("RGB", (160, 120), "navy")
    assert differs(plain, plain) == -1
    assert differs(chance(1), chance(1), lying(corner=(0.95, 0.95))) == -1


def test_the_same_pictures_give_the_same_answer() -> None:
    """Nothing is left to chance."""
    one, other = looked_at(painted(9)), looked_at(painted(9).resize((333, 200)))
    assert compared(one, other) == compared(one, other)
    assert np.isfinite(compared(one, other).match.transform).all()  # type: ignore[union-attr]
