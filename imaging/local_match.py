"""Whether two pictures show the same thing: their local features put on each other.

Each point of the one is paired with the point of the other that is described most alike. A pair says by its places,
sizes and directions how the one picture would have to be moved, turned and scaled to lie on the other; the movement
that most pairs agree on is then fitted to all of them. Nothing is left to chance: the same pictures give the same
match.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from imaging.local_features import LocalFeatures, Points, local_features

__all__ = ["LocalFeatures", "LocalMatch", "local_features", "match"]

type Point = tuple[float, float]
type Outline = tuple[Point, Point, Point, Point]
type Transform = tuple[float, float, float, float, float, float, float, float, float]

_Matrix = NDArray[np.float64]

COPY_INLIERS: Final = 6
"""Fewer agreeing pairs than these say nothing by themselves."""
COPY_AGREEMENT: Final = 0.48
"""The share of all pairs that agree, times the share of those that do so exactly."""
COPY_DRIFT: Final = 0.2
"""See `_Fit.drift`."""
_RATIO: Final = 0.85
"""A point's best counterpart counts if it is nearer than so many times the second best (Lowe's ratio test)."""
_LEAST: Final = 4
"""Fewer pairs than these agree by chance."""
_CERTAIN: Final = 40
"""From so many agreeing pairs on, the mirrored picture isn't tried."""
_MOVEMENTS: Final = 80
"""So many pairs, those that are most alike, each tell a movement, and the best few of these are fitted."""
_HYPOTHESES: Final = 5
_TOLERANCES: Final = (0.03, 0.015, 0.01, 0.006, 0.004, 0.003)
"""How far from its place a point may lie in each round of fitting, as a share of the thumbnail's longer side."""
_NEAR: Final = 0.01
_EXACT: Final = 0.003
"""About a pixel: pairs that are off by more agree, but not exactly."""
_NEIGHBOURS: Final = 5
_LARGEST: Final = 12
"""Times that a picture may be larger than the other, of which both are seen on thumbnails."""
_BLOCK: Final = (32, 64)
"""Descriptions of the one picture and of the other that are multiplied at once: no more than OpenBLAS does in the
calling thread. For larger products it wakes threads of its own, which spin: one of 500 × 500 then took 6 to 17 ms of
CPU in the place of 1, and on a busy machine 25 ms by the clock.
"""
_CORNERS = np.asarray([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)


@dataclass(frozen=True, slots=True)
class LocalMatch:
    """What two pictures, the query and the other, have in common.

    `inliers` is the number of pairs of points that agree, each with ends of its own, and `share` that of all pairs
    that looked alike. `transform` is a 3 × 3 matrix, row by row, from the query's unit square (x / width,
    y / height) to the other's. The overlaps are the shares (0 to 1) of each picture's area that the other covers.
    `outline` is the query's frame within the other, from its upper left corner on, in unit coordinates, which may lie
    outside of 0 to 1. `agrees` says whether enough of the points do, by thresholds that docs/accuracy.md
    documents; `is_copy` is the same, until `imaging.comparing` has looked at what lies on each other, too.
    """

    inliers: int
    share: float
    transform: Transform
    query_overlap: float
    other_overlap: float
    mirrored: bool
    outline: Outline
    agrees: bool
    is_copy: bool

    def inverse(self) -> LocalMatch:
        """The same match, seen from the other picture: its outline is the other's frame within the query."""
        matrix = np.linalg.inv(np.asarray(self.transform).reshape(3, 3))
        return LocalMatch(
            inliers=self.inliers,
            share=self.share,
            transform=_transform(matrix),
            query_overlap=self.other_overlap,
            other_overlap=self.query_overlap,
            mirrored=self.mirrored,
            outline=_outline(matrix),
            agrees=self.agrees,
            is_copy=self.is_copy,
        )


def match(query: LocalFeatures, other: LocalFeatures) -> LocalMatch | None:
    """How the query lies on the other picture, mirrored if that fits better; None where they have nothing in common."""
    if min(len(query.points), len(other.points)) < _LEAST:
        return None
    described = _unit(other.descriptors)
    fit = _Fit.best(_pairs(_unit(query.descriptors), described), query, other, mirrored=False)
    if fit is None or fit.inliers < _CERTAIN:
        seen = query.mirrored
        mirrored = _Fit.best(_pairs(_unit(seen.descriptors), described), seen, other, mirrored=True)
        fit = max((each for each in (fit, mirrored) if each), key=lambda each: each.inliers, default=None)
    return fit.match(query, other) if fit else None


def _pairs(query: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.intp]:
    """[m, 2]: indices of points that are each other's best counterpart, and clearly better than the second best.

    Those that are most alike come first.
    """
    alike = products(query, other)
    rows = np.arange(len(query))
    best = alike.argmax(axis=1)
    mutual = alike.argmax(axis=0)[best] == rows
    nearest = alike[rows, best]
    alike[rows, best] = -1
    # Of unit vectors, the squared distance is 2 - 2 times their product.
    clear = 1 - nearest < _RATIO**2 * (1 - alike.max(axis=1))
    kept = rows[clear & mutual]
    kept = kept[np.argsort(-nearest[kept], kind="stable")]
    return np.stack([kept, best[kept]], axis=1)


def products(query: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each description with each, [n, d] and [m, d] to [n, m], in the calling thread alone."""
    rows, columns = (
        np.pad(each, ((0, -len(each) % size), (0, 0))) for each, size in zip((query, other), _BLOCK, strict=True)
    )
    found = np.empty((len(rows), len(columns)), np.float32)
    np.matmul(
        rows.reshape(-1, 1, _BLOCK[0], rows.shape[1]),
        columns.reshape(1, -1, _BLOCK[1], columns.shape[1]).transpose(0, 1, 3, 2),
        out=found.reshape(-1, _BLOCK[0], len(columns) // _BLOCK[1], _BLOCK[1]).transpose(0, 2, 1, 3),
    )
    return found[: len(query), : len(other)]


def _unit(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = descriptors.astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", values, values))
    return np.asarray(values / np.maximum(lengths, 1)[:, None], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """An affine map [2, 3] in pixels of both thumbnails, from the query, mirrored or not."""

    affine: _Matrix
    inliers: int
    share: float
    mirrored: bool
    exact: float
    """The share of the agreeing pairs that lie within a pixel of their place."""
    drift: float
    """How much alike the errors of neighbouring points are, from -1 to 1. A copy's are chance; those of another
    photograph of the same scene come from its point of view, and change little from one point to the next.
    """

    @property
    def agrees(self) -> bool:
        """By thresholds that `make accuracy` measures (docs/accuracy.md)."""
        agreement = self.share * self.exact
        return self.inliers >= COPY_INLIERS and agreement >= COPY_AGREEMENT and self.drift <= COPY_DRIFT

    @classmethod
    def best(
        cls, pairs: NDArray[np.intp], query: LocalFeatures, other: LocalFeatures, *, mirrored: bool
    ) -> _Fit | None:
        """The movement that most pairs agree on; None where it is no more than chance gives."""
        if len(pairs) < _LEAST:
            return None
        ends = query.points[pairs[:, 0]], other.points[pairs[:, 1]]
        side = max(other.width, other.height)
        turned = query.frames[pairs[:, 0]], other.frames[pairs[:, 1]]
        agreeing = _agreeing(*ends, *turned, side)
        order = np.argsort(-agreeing.sum(axis=1), kind="stable")[:_HYPOTHESES]
        chosen: tuple[_Matrix, int] | None = None
        for which in order:
            fitted = _fitted(*ends, agreeing[which], side)
            if fitted is not None and (chosen is None or fitted[1] > chosen[1]):
                chosen = fitted
            if chosen is not None and chosen[1] > len(pairs) / 2:
                break
        if chosen is None or chosen[1] < _LEAST:
            return None
        affine, inliers = chosen
        exact, drift = _exactness(affine, *ends, side)
        return cls(affine, inliers, inliers / _distinct(*ends), mirrored, exact, drift)

    def match(self, query: LocalFeatures, other: LocalFeatures) -> LocalMatch:
        """In unit coordinates of both pictures."""
        pixels = np.vstack([self.affine, [0, 0, 1]])
        mirror = np.asarray([[-1, 0, query.width], [0, 1, 0], [0, 0, 1]]) if self.mirrored else np.eye(3)
        matrix = np.diag([1 / other.width, 1 / other.height, 1]) @ pixels @ mirror
        matrix = matrix @ np.diag([query.width, query.height, 1])
        area = area_within_unit_square(matrix)
        return LocalMatch(
            inliers=self.inliers,
            share=self.share,
            transform=_transform(matrix),
            query_overlap=min(1.0, area / max(1e-9, abs(float(np.linalg.det(matrix))))),
            other_overlap=min(1.0, area),
            mirrored=self.mirrored,
            outline=_outline(matrix),
            agrees=self.agrees,
            is_copy=self.agrees,
        )


def _agreeing(starts: Points, ends: Points, start_frames: Points, end_frames: Points, side: float) -> NDArray[np.bool_]:
    """[told, m]: which pairs (columns) the movement that a pair (row) tells would bring to about their place.

    The further a point lies from the one that tells, the more an error of its direction moves it.
    """
    scales = end_frames[:_MOVEMENTS, 0] / start_frames[:_MOVEMENTS, 0]
    turns = end_frames[:_MOVEMENTS, 1] - start_frames[:_MOVEMENTS, 1]
    across, down = (scales * np.cos(turns))[:, None], (scales * np.sin(turns))[:, None]
    x, y = (starts[None, :, axis] - starts[:_MOVEMENTS, None, axis] for axis in (0, 1))
    off_x = across * x - down * y + ends[:_MOVEMENTS, None, 0] - ends[None, :, 0]
    off_y = down * x + across * y + ends[:_MOVEMENTS, None, 1] - ends[None, :, 1]
    reach = np.hypot(x, y) * scales[:, None]
    return np.asarray(np.hypot(off_x, off_y) <= 0.02 * side + 0.15 * reach)


def _fitted(starts: Points, ends: Points, chosen: NDArray[np.bool_], side: float) -> tuple[_Matrix, int] | None:
    """The affine map by least squares, fitted to those pairs, and again to what then lies ever nearer to its place;
    and how many pairs with ends of their own agree with it.
    """
    affine: _Matrix | None = None
    for tolerance in _TOLERANCES:
        if chosen.sum() < _LEAST:
            break
        fitted = _least_squares(starts[chosen], ends[chosen])
        if fitted is None or not _is_plausible(fitted):
            break
        affine = fitted
        chosen = _errors(affine, starts, ends, side)[1] <= tolerance
    if affine is None:
        return None
    near = _errors(affine, starts, ends, side)[1] <= _NEAR
    return affine, _distinct(starts[near], ends[near])


def _errors(affine: _Matrix, starts: Points, ends: Points, side: float) -> tuple[_Matrix, _Matrix]:
    """[m, 2] and [m]: how far points come from their places, as shares of the longer side; of an enlarged picture less,
    since its points are known as exactly as its own pixels are.
    """
    unit = side * max(1.0, abs(float(np.linalg.det(affine[:, :2]))) ** 0.5)
    off = (starts @ affine[:, :2].T + affine[:, 2] - ends) / unit
    return off, np.hypot(off[:, 0], off[:, 1])


def _exactness(affine: _Matrix, starts: Points, ends: Points, side: float) -> tuple[float, float]:
    """The share of the agreeing pairs that lie exactly, and their drift (see `_Fit`)."""
    off, errors = _errors(affine, starts, ends, side)
    near = np.flatnonzero(errors <= _NEAR)
    # One for each place: several points of one place have one error.
    _, first = np.unique(np.rint(starts[near] / 2), axis=0, return_index=True)
    places, off = starts[near[first]], off[near[first]]
    if len(places) <= _NEIGHBOURS:
        return float((errors[near] <= _EXACT).mean()), 0.0
    apart = np.hypot(*(places[:, None, axis] - places[None, :, axis] for axis in (0, 1)))
    np.fill_diagonal(apart, np.inf)
    around = np.argpartition(apart, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    alike = (off * off[around].mean(axis=1)).sum() / max(1e-12, float((off**2).sum()))
    return float((errors[near] <= _EXACT).mean()), float(alike)


def _least_squares(starts: Points, ends: Points) -> _Matrix | None:
    """[2, 3]; None where the points lie on a line, or are one place (which may have several sizes and directions)."""
    middle, end = starts.mean(axis=0, dtype=np.float64), ends.mean(axis=0, dtype=np.float64)
    away = starts - middle
    spread = away.T @ away
    if np.linalg.det(spread) <= 1e-4 * np.trace(spread) ** 2:
        return None
    linear = np.linalg.solve(spread, away.T @ (ends - end)).T
    return np.column_stack([linear, end - linear @ middle])


def _is_plausible(affine: _Matrix) -> bool:
    """Whether it scales by no more than copies are, and one direction at most three times as much as the other."""
    large, small = np.linalg.svd(affine[:, :2], compute_uv=False)
    return bool(1 / _LARGEST < small <= large < _LARGEST and large < 3 * small and np.linalg.det(affine[:, :2]) > 0)


def _distinct(starts: Points, ends: Points) -> int:
    """Pairs whose ends are places of their own, in both pictures: a point may have several directions or sizes."""
    return min(len({(round(x / 2), round(y / 2)) for x, y in points.tolist()}) for points in (starts, ends))


def area_within_unit_square(matrix: _Matrix) -> float:
    """The area of what the unit square becomes by an affine matrix [3, 3], as far as it lies within the unit square.

    `cv2.intersectConvexConvex` loses half of it where the outline nearly is the square.
    """
    corners: list[Point] = list(_outline(matrix))
    for axis, edge, sign in ((0, 0.0, 1), (0, 1.0, -1), (1, 0.0, 1), (1, 1.0, -1)):
        kept: list[Point] = []
        for one, two in pairwise([*corners, *corners[:1]]):
            inner, after = sign * (one[axis] - edge), sign * (two[axis] - edge)
            if inner >= 0:
                kept.append(one)
            if inner * after < 0:
                part = inner / (inner - after)
                kept.append((one[0] + part * (two[0] - one[0]), one[1] + part * (two[1] - one[1])))
        corners = kept
    turns = (x * down - across * y for (x, y), (across, down) in pairwise([*corners, *corners[:1]]))
    return abs(sum(turns)) / 2


def _outline(matrix: _Matrix) -> Outline:
    corners = np.column_stack([_CORNERS, np.ones(4)]) @ matrix.T
    one, two, three, four = (corners[:, :2] / corners[:, 2:]).tolist()
    return (one[0], one[1]), (two[0], two[1]), (three[0], three[1]), (four[0], four[1])


def _transform(matrix: _Matrix) -> Transform:
    a, b, c, d, e, f, g, h, i = (float(value) for value in matrix.ravel())
    return a, b, c, d, e, f, g, h, i
