"""Whether two pictures show the same thing, where the one lies on the other, and what was done to it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from math import isclose, isfinite

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import integers
from PIL import Image, ImageOps

from bench.accuracy.screens import NEGATIVES, phone
from imaging.changes import ChangeKind, changes
from imaging.limits import DecodeLimits
from imaging.local_match import LocalFeatures, LocalMatch, area_within_unit_square, local_features, match, products
from imaging.raster import read
from ops.gallery.make import paint
from tests.harness.fuzzing import fuzz, fuzz_settings
from tests.harness.picture_files import saved


def painted(number: int) -> Image.Image:
    """A painted map (9), skyline (2), poster (4), and so on: see ops.gallery."""
    return paint(number, 0)[1].convert("RGB")


PICTURE = painted(9)


def matched(query: Image.Image, other: Image.Image) -> LocalMatch:
    """The match of two pictures that have one."""
    found = match(local_features(query), local_features(other))
    assert found is not None
    return found


def cropped(image: Image.Image) -> Image.Image:
    """Half of each side, a quarter of each from the upper left."""
    across, down = image.width // 4, image.height // 4
    return image.crop((across, down, 3 * across, 3 * down))


def warmer(image: Image.Image) -> Image.Image:
    """More red and less blue, as light as before."""
    red, green, blue = image.split()
    return Image.merge("RGB", (red.point(lambda level: level + 30), green, blue.point(lambda level: level - 30)))


def on_blue(image: Image.Image) -> Image.Image:
    """On 400 × 600 pixels of a blue square of 1,000."""
    square = Image.new("RGB", (1000, 1000), "navy")
    square.paste(image.resize((400, 600)), (250, 375))
    return square


def test_a_picture_lies_on_itself() -> None:
    """The same pixels match by the identity, and each covers the other."""
    found = matched(PICTURE, PICTURE)
    assert found.is_copy
    assert not found.mirrored
    assert np.allclose(np.reshape(found.transform, (3, 3)), np.eye(3), atol=1e-3)
    assert found.query_overlap > 0.99
    assert found.other_overlap > 0.99
    assert found.share > 0.9


@pytest.mark.parametrize(
    ("transform", "outline", "overlaps"),
    [
        (ImageOps.mirror, ((1, 0), (0, 0), (0, 1), (1, 1)), (1, 1)),
        (lambda image: image.rotate(90, expand=True), ((0, 1), (0, 0), (1, 0), (1, 1)), (1, 1)),
        (cropped, ((-0.5, -0.5), (1.5, -0.5), (1.5, 1.5), (-0.5, 1.5)), (0.25, 1)),
        (on_blue, ((0.25, 0.375), (0.65, 0.375), (0.65, 0.975), (0.25, 0.975)), (1, 0.24)),
    ],
)
def test_a_copy_s_outline_says_where_it_lies(
    transform: Callable[[Image.Image], Image.Image],
    outline: tuple[tuple[float, float], ...],
    overlaps: tuple[float, float],
) -> None:
    """Mirrored, turned, cut out or put into another picture, its corners are found within 2 % of a side."""
    found = matched(PICTURE, transform(PICTURE))
    assert found.is_copy
    assert np.allclose(found.outline, outline, atol=0.02)
    assert np.allclose((found.query_overlap, found.other_overlap), overlaps, atol=0.03)


def test_the_inverse_is_what_the_other_way_finds() -> None:
    """Overlaps change places, the transform is undone, and the outline is the other's frame in the query."""
    found = matched(PICTURE, cropped(PICTURE))
    inverse = found.inverse()
    assert (inverse.query_overlap, inverse.other_overlap) == (found.other_overlap, found.query_overlap)
    assert np.allclose(inverse.outline, ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)), atol=0.02)
    assert np.allclose(inverse.inverse().transform, found.transform)


def test_mirrored_features_are_those_of_the_mirrored_picture() -> None:
    """They needn't be taken again: nearly all points of the one are found in the other, with the same description."""
    seen, derived = local_features(ImageOps.mirror(PICTURE)), local_features(PICTURE).mirrored
    found = match(derived, seen)
    assert found is not None
    assert not found.mirrored
    assert found.inliers > 0.6 * len(seen.points)


@pytest.mark.parametrize("kind", sorted(NEGATIVES.keys() - {"forms"}))
def test_pictures_of_one_kind_are_no_copies(kind: str) -> None:
    """Two pages, chats, codes or receipts have some corners alike and are no copies."""
    one, other = (NEGATIVES[kind](random.Random(seed)) for seed in (1, 2))
    found = match(local_features(one), local_features(other))
    assert found is None or not found.is_copy


def test_what_lies_on_the_whole_picture_overlaps_with_all_of_it() -> None:
    """Also where its corners are off by as little as chance makes them, to either side."""
    rng = np.random.default_rng(1)
    for _ in range(100):
        matrix = np.eye(3)
        matrix[:2] += rng.normal(0, 1e-4, (2, 3))
        assert area_within_unit_square(matrix) == pytest.approx(1, abs=2e-3)
        assert area_within_unit_square(matrix @ [[-1, 0, 1], [0, 1, 0], [0, 0, 1]]) == pytest.approx(1, abs=2e-3)
    assert area_within_unit_square(np.asarray([[1, 0, 0.5], [0, 1, 0.25], [0, 0, 1]])) == pytest.approx(0.375)
    assert area_within_unit_square(np.asarray([[1, 0, 3], [0, 1, 0], [0, 0, 1]])) == 0


@pytest.mark.parametrize(("one", "other"), [(2, 20), (6, 24), (9, 27), (0, 2)])
def test_different_pictures_are_no_copies(one: int, other: int) -> None:
    """Not even two skylines, two posters or two maps."""
    found = match(local_features(painted(one)), local_features(painted(other)))
    assert found is None or not found.is_copy


def test_a_picture_is_found_on_a_screenshot() -> None:
    """It covers all of the picture, and the part of the screen that it lies on."""
    found = matched(PICTURE, phone(PICTURE, random.Random(1)))
    assert found.is_copy
    assert found.query_overlap > 0.97
    assert found.other_overlap == pytest.approx(0.643, abs=0.02)


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (500, 500)])
def test_featureless_pictures_have_nothing_in_common(size: tuple[int, int]) -> None:
    """A flat colour has no features, whatever its size, and matches nothing."""
    flat = local_features(Image.new("RGB", size, "teal"))
    assert flat.featureless
    assert not local_features(PICTURE).featureless
    assert match(flat, flat) is None
    assert match(flat, local_features(PICTURE)) is None


@pytest.mark.parametrize("places", [[(9.0, 9.0)] * 8, [(2.0 * n, 5.0) for n in range(8)]], ids=["one place", "a line"])
def test_points_that_span_no_area_tell_nothing(places: list[tuple[float, float]]) -> None:
    """A place may have several features, of many sizes and directions: they fix no movement, nor does a line."""
    described = np.zeros((8, 128), np.uint8)
    described[range(8), range(8)] = 255
    frames = np.full((8, 2), (4.0, 0.0), np.float32)
    features = LocalFeatures(64, 64, np.asarray(places, np.float32), described, frames)
    assert match(features, features) is None


def features_by_chance(seed: int) -> tuple[LocalFeatures, LocalFeatures]:
    """Up to 60 points at few or many places, and the same ones moved by any affine map, more or less exactly."""
    chance = np.random.default_rng(seed)
    count, places = int(chance.integers(0, 60)), int(chance.choice([1, 3, 1000]))
    points = chance.random((places, 2))[chance.integers(0, places, count)] * 300
    linear = chance.normal(size=(2, 2)) * 10.0 ** chance.uniform(-3, 3)
    moved = points @ linear.T + chance.normal(size=2) * 50 + chance.normal(size=(count, 2)) * chance.choice([0, 0.5, 5])
    described = chance.integers(0, 256, (count, 128)).astype(np.uint8)
    frames = np.column_stack([chance.uniform(0.5, 30, count), chance.uniform(0, 6.3, count)]).astype(np.float32)
    sizes = chance.integers(1, 321, 4).tolist()
    return (
        LocalFeatures(sizes[0], sizes[1], points.astype(np.float32), described, frames),
        LocalFeatures(sizes[2], sizes[3], moved.astype(np.float32), described, frames),
    )


@pytest.mark.fuzz
def test_any_features_can_be_compared() -> None:
    """Wherever they lie: they have nothing in common, or all that is told of the match is a number in its range."""

    @fuzz_settings
    @given(seed=integers(0, 2**32))
    def compare(seed: int) -> None:
        one, other = features_by_chance(seed)
        found = match(one, other)
        if found is not None:
            assert min(found.query_overlap, found.other_overlap, found.share) >= 0
            assert max(found.query_overlap, found.other_overlap, found.share) <= 1
            assert np.isfinite([*found.transform, *found.inverse().transform]).all()
            seen = (Image.new("RGB", (each.width, each.height)) for each in (one, other))
            assert all(isfinite(change.value) for change in changes(found, *seen))

    fuzz(compare)


def test_a_match_is_the_same_each_time() -> None:
    """Nothing is left to chance, so a verdict doesn't change from one search to the next."""
    query, other = local_features(PICTURE), local_features(PICTURE.resize((333, 200)))
    assert match(query, other) == match(query, other)


def test_comparing_costs_no_other_thread_anything() -> None:
    """Libraries that multiply large matrices with threads of their own have them spin while others wait."""
    rng = np.random.default_rng(1)
    one, other = (rng.random((count, 128), np.float32) for count in (500, 437))
    assert np.allclose(products(one, other), one @ other.T)
    time.sleep(0.1)  # Until those threads, which that woke, sleep again.
    whole, own = time.process_time(), time.thread_time()
    for _ in range(20):
        products(one, other)
    whole, own = time.process_time() - whole, time.thread_time() - own
    assert whole < 2 * own


def test_a_raster_s_proportions_are_its_picture_s() -> None:
    """A decoder may have reduced both sides by different factors; the thumbnail has the shape of the whole."""
    wide = PICTURE.resize((4000, 500))
    raster = read(saved(wide, "PNG"), DecodeLimits(), 480, 480)
    features = local_features(raster)
    assert isclose(features.width / features.height, 8, rel_tol=0.02)


def test_features_are_small_enough_to_be_kept() -> None:
    """A picture's features take less than 100 kB, and their size is told."""
    features: LocalFeatures = local_features(PICTURE)
    assert 0 < features.descriptors.nbytes < features.nbytes < 100_000


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (lambda image: image, {}),
        (ImageOps.mirror, {ChangeKind.MIRRORED: 1}),
        (lambda image: image.rotate(-90, expand=True), {ChangeKind.TURNED: 90}),
        (lambda image: image.resize((image.width, 2 * image.height)), {ChangeKind.STRETCHED: 2}),
        (cropped, {ChangeKind.CROPPED: 0.25}),
        (lambda image: image.convert("L").convert("RGB"), {ChangeKind.GREY: 1}),
        (lambda image: ImageOps.expand(image, image.height // 2, "white"), {ChangeKind.BORDERED: 0.2}),
        (lambda image: phone(image, random.Random(1)), {ChangeKind.INSET: 0.643}),
        (lambda image: image.point(lambda level: min(255, level + 40)), {ChangeKind.BRIGHTER: 40}),
        (lambda image: image.point(lambda level: level // 2), {ChangeKind.DARKER: 85}),
        (warmer, {ChangeKind.RECOLOURED: 60}),
    ],
)
def test_changes_say_what_was_done(
    transform: Callable[[Image.Image], Image.Image], expected: dict[ChangeKind, float]
) -> None:
    """Each thing that is done to a picture is named, with its measure, and nothing else is."""
    copy = transform(PICTURE)
    told = {change.kind: change.value for change in changes(matched(PICTURE, copy), PICTURE, copy)}
    assert told.keys() == expected.keys()
    for kind, value in expected.items():
        assert isclose(told[kind], value, rel_tol=0.5 if value > 10 and kind is not ChangeKind.TURNED else 0.1)
