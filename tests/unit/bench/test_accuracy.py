"""`make accuracy`: its figures on a few painted pictures, and how they are reckoned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.accuracy import report
from bench.accuracy.cache import Cache
from bench.accuracy.corpus import ABSENT, Corpus, Half, Search
from bench.accuracy.measure import Figures, Laboratory, all_figures
from bench.accuracy.methods import model
from bench.accuracy.searching import Candidate, Outcome, nearest, precision, shares, threshold, verified
from bench.accuracy.transforms import TRANSFORMS, as_jpeg
from imaging.local_match import LocalMatch
from ops.gallery import make_gallery
from ops.gallery.make import paint


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """Nine painted pictures, of one of which copies are searched for, and two hard negatives of each kind."""
    folder = tmp_path_factory.mktemp("accuracy")
    files = make_gallery(folder / "pictures", count=12)
    # Without those that are little more than a flat colour.
    chosen = [path for path in files if path.name.split("-")[0] not in {"fractal", "planet", "still"}]
    return Laboratory.of(Corpus(tuple(chosen), searched=1, absent=3, negatives=2), Cache(folder / "cache"))


@pytest.fixture(scope="module")
def told(laboratory: Laboratory, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figures]:
    """The figures of all ways of searching with the small model, by title; the report lies in a folder."""
    found: dict[str, Figures] = {}
    folder = tmp_path_factory.mktemp("report")

    def keep(figures: Figures, outcomes: Sequence[Outcome]) -> None:
        found[report.title(figures)] = figures
        report.write(list(found.values()), folder)
        report.save_misses(laboratory.corpus, figures, outcomes, folder / "worst")

    all_figures(laboratory, model("sscd_distilled"), keep, parts=True)
    assert (folder / "accuracy.json").stat().st_size > 1000
    assert b"<svg" in (folder / "curves.svg").read_bytes()
    return found


@pytest.mark.slow
def test_verified_searches_call_copies_copies(told: dict[str, Figures]) -> None:
    """Of all 23 copies of a painted picture, nearly all are found first and called copies, with parts all but one."""
    parts = told["sscd_distilled, parts, verified"]
    assert set(TRANSFORMS) < set(parts.kinds)
    assert parts.recall_at_1 == 1
    assert parts.copies >= 0.95
    assert told["sscd_distilled, framed, verified"].copies >= 0.9


@pytest.mark.slow
def test_verified_searches_call_nothing_else_a_copy(told: dict[str, Figures]) -> None:
    """Neither pictures that aren't there nor other pages, chats, codes, receipts or sides; unverified, some are."""
    for views in ("whole", "framed", "parts"):
        kinds = told[f"sscd_distilled, {views}, verified"].kinds
        for kind in (ABSENT, "pages", "chats", "codes", "forms", "receipts", "other-side"):
            assert kinds[kind].other_copies == 0, (views, kind)
    assert told["sscd_distilled, whole"].kinds["pages"].other_copies == 1


@pytest.mark.slow
def test_what_was_computed_is_kept(laboratory: Laboratory, told: dict[str, Figures]) -> None:
    """A second run embeds nothing: the same vectors come from the output folder."""
    method = model("sscd_distilled")
    assert told

    def refuse(*_: object) -> object:
        raise AssertionError("embedded again")

    again = replace(method, describe=refuse)  # type: ignore[arg-type]
    kept = laboratory.queries(again, parts=True)
    assert len(kept) == len(laboratory.corpus.searches())


def test_limits_are_judged_on_other_photographs(tmp_path: Path) -> None:
    """Every photograph is searched for in one half, wherever it lies and whatever is beside it; negatives differ."""
    files = make_gallery(tmp_path, count=12)

    def searched(half: Half, *photographs: Path) -> set[Path]:
        searches = Corpus(photographs, 4, 100, 1, half).searches()
        return {photographs[each.number] for each in searches if each.number < len(photographs)}

    choosing, judging = (searched(half, *files) for half in (Half.CHOOSING, Half.JUDGING))
    assert choosing
    assert judging == set(files) - choosing
    assert searched(Half.CHOOSING, *files[6:]) == choosing & set(files[6:])
    assert searched(Half.BOTH, *files) == set(files)
    drawn = {half: Corpus(tuple(files), 4, 100, 1, half).reference(len(files)) for half in Half}
    assert len(set(drawn.values())) == len(Half)


def _outcome(own: int | None, *hits: tuple[int, float]) -> Outcome:
    return Outcome(Search("identity", 0, own), tuple(Candidate(reference, score) for reference, score in hits))


def _match(*, copy: bool) -> LocalMatch:
    corners = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    return LocalMatch(
        9, 0.9, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), 1.0, 1.0, mirrored=False, outline=corners, agrees=copy, is_copy=copy
    )


def test_a_reference_s_score_is_that_of_the_nearest_view() -> None:
    """Views of the query are searched for together, among all views of the references; what is hidden isn't found."""
    wholes = np.eye(4, dtype=np.float32)[:, np.newaxis]
    views = np.asarray([[0.6, 0.8, 0, 0], [0, 0, 1, 0]], np.float32)
    hits = nearest(views, wholes, Search("identity", 0, None, hidden=(2,))).hits
    assert [(hit.reference, round(hit.score)) for hit in hits[:2]] == [(1, 80), (0, 60)]
    with_views = np.concatenate([wholes, wholes[[3, 2, 1, 0]]], axis=1)
    hits = nearest(views, with_views, Search("identity", 0, None, hidden=(2,))).hits
    assert [(hit.reference, round(hit.score)) for hit in hits[:3]] == [(1, 100), (0, 60), (3, 60)]
    assert [round(hit.score_of_whole) for hit in hits[:3]] == [80, 60, 0]


def test_a_crop_is_nearest_to_a_view() -> None:
    """With views of the references a crop's own has a higher score than without, by the code that indexes."""
    picture = paint(9, 0)[1].convert("RGB")
    crop = picture.crop((0, 0, picture.width // 2, picture.height // 2))
    whole, ninths = (model("sscd_distilled", layout) for layout in ("none", "ninths"))
    query = whole.describe(as_jpeg(crop, 90), False).vectors[:1]  # noqa: FBT003 -- named by its type
    contents = [method.describe_content(as_jpeg(picture, 90)) for method in (whole, ninths)]
    assert [len(each) for each in contents] == [1, 10]
    assert np.array_equal(contents[0][0], contents[1][0])
    of_whole, of_views = (float((query @ each.T).max()) for each in contents)
    assert of_views > of_whole + 0.2


def test_verified_copies_come_first() -> None:
    """Of the hits that are compared, copies are moved to the front; the others stay where they were."""
    outcome = _outcome(3, (1, 90.0), (2, 80.0), (3, 70.0), (4, 60.0))

    def compare(_: Search, reference: int) -> LocalMatch:
        return _match(copy=reference == 3)

    ordered = verified(outcome, compare, compare, 3, 0.0)
    assert [hit.reference for hit in ordered.hits] == [3, 1, 2, 4]
    assert [hit.verified for hit in ordered.hits] == [True, True, True, False]


def test_what_is_left_open_is_looked_at_closely() -> None:
    """All hits where a quick look finds no copy among them, from the lowest score on that is worth it."""
    outcome = _outcome(3, (1, 90.0), (2, 80.0), (3, 70.0), (4, 60.0))
    for first, least, seen in ((9, 0.0, {1, 2, 3}), (9, 75.0, {1, 2}), (1, 0.0, set())):
        closely: set[int] = set()

        def quick(_: Search, reference: int, first: int = first) -> LocalMatch:
            return _match(copy=reference == first)

        def close(_: Search, reference: int, closely: set[int] = closely) -> LocalMatch:
            closely.add(reference)
            return _match(copy=reference == 3)

        ordered = verified(outcome, quick, close, 3, least)
        assert closely == seen
        assert ordered.hits[0].reference == (3 if 3 in seen else 1)


def test_shares_count_searches() -> None:
    """Recall and verdicts are shares of the searches, and other copies are counted by search."""
    outcomes = [_outcome(1, (1, 90.0), (2, 80.0)), _outcome(2, (1, 85.0), (2, 40.0)), _outcome(3, (1, 20.0))]
    found = shares(outcomes, lambda hit: hit.score >= 75)
    found_shares = [found.recall_at_1, found.recall_at_10, found.copy, found.other_copies]
    assert found_shares == pytest.approx([1 / 3, 2 / 3, 1 / 3, 2 / 3])


def test_the_threshold_is_what_others_hardly_reach() -> None:
    """The best hit that isn't the searched picture counts, once a search; its own score doesn't."""
    outcomes = [_outcome(1, (1, 99.0), (2, float(score)), (3, 1.0)) for score in range(101)]
    assert threshold(outcomes) == 99
    assert threshold(outcomes, 0.5) == 50


def test_precision_is_that_of_all_pairs_together() -> None:
    """Micro-AP is the mean of the precisions at the right pairs; one that isn't found counts as nought."""
    outcomes = [
        _outcome(1, (1, 90.0)),
        _outcome(2, (5, 80.0), (2, 70.0)),
        _outcome(3, (6, 10.0)),
        _outcome(None, (7, 5.0)),
    ]
    found = precision(outcomes, lambda hit: hit.score)
    assert found.micro_ap == pytest.approx((1 + 2 / 3) / 3)
    assert found.recall_at_p90 == pytest.approx(1 / 3)
