"""A picture's local features: some hundred points, each with a description that turning and scaling hardly change.

SIFT (Lowe 2004) by OpenCV, its descriptions as RootSIFT (Arandjelović and Zisserman 2012). How two pictures' features
are compared is said in `imaging.local_match`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.raster import Raster

_CONTRAST: Final = 0.01
"""A quarter of what is usual, since photographs of plain things have few points else."""
_SCALE: Final = 512.0
"""RootSIFT's components are this many times as large as bytes. Those above 0.5 are cut, and there are hardly any."""

_MIDDLE: Final = np.float32(0.25)
"""From OpenCV's places to those from the corner on. It counts from the first pixel's middle, and is a quarter off since
doubling the picture moves it.
"""


@dataclass(frozen=True, slots=True)
class Closeness:
    """How closely a picture is looked at: features on a thumbnail of `side` pixels, `most` at most.

    `sigma` is that of the Gaussian that smooths the doubled thumbnail, in its pixels. With less than the usual 1.6 a
    small thumbnail has as many points as a larger one has else, but fewer that tell print from what was entered.
    """

    side: int
    most: int
    sigma: float


QUICK: Final = Closeness(160, 300, 1.2)
"""A third of the time of a close look: docs/accuracy.md."""
CLOSE: Final = Closeness(256, 400, 1.6)

Points = NDArray[np.float32]
"""float32 [n, 2]: x and y."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalFeatures:
    """The features of one picture, on a thumbnail of `width` × `height` pixels."""

    width: int
    height: int
    points: Points
    """In pixels of the thumbnail, from its upper left corner on: the first one's middle lies at 0.5."""
    descriptors: NDArray[np.uint8]
    """[n, 128]: RootSIFT, 512 times as large."""
    frames: Points
    """[n, 2]: each point's size in pixels and its direction in radians."""

    @property
    def nbytes(self) -> int:
        """What the arrays take in memory."""
        return self.points.nbytes + self.descriptors.nbytes + self.frames.nbytes

    @property
    def featureless(self) -> bool:
        """Whether there is nothing in it to be compared, as in one flat colour: then only the same bytes are a copy."""
        return len(self.points) == 0

    @property
    def mirrored(self) -> LocalFeatures:
        """The features that the picture has when left and right are exchanged, without looking at it again.

        A description is a histogram of 4 × 4 cells, each with 8 directions, in the frame of its point. Mirrored, the
        rows come in reverse, and each direction becomes its opposite about the frame's axis.
        """
        points, frames = self.points.copy(), self.frames.copy()
        points[:, 0] = self.width - points[:, 0]
        frames[:, 1] = np.pi - frames[:, 1]
        return replace(
            self,
            points=points,
            frames=frames,
            descriptors=np.ascontiguousarray(self.descriptors[:, _MIRROR]),
        )


def local_features(picture: Raster | Image.Image, look: Closeness = CLOSE) -> LocalFeatures:
    """The features of a decoded picture, upright; none where it is featureless. Plain computing, safe in any thread."""
    rgb = picture.rgb if isinstance(picture, Raster) else picture
    # A raster's sides may have been reduced by different factors.
    full = (picture.width, picture.height)
    scale = min(1.0, look.side / max(full))
    width, height = (max(1, round(side * scale)) for side in full)
    grey = np.asarray(rgb.convert("L").resize((width, height), Image.Resampling.BILINEAR))
    points, frames, descriptors = _sift(grey, look)
    return LocalFeatures(width, height, points, descriptors, frames)


def _sift(grey: NDArray[np.uint8], look: Closeness) -> tuple[Points, Points, NDArray[np.uint8]]:
    # One for each call, which costs nothing: OpenCV doesn't promise that threads may share one.
    detector = cv2.SIFT.create(nfeatures=look.most, contrastThreshold=_CONTRAST, sigma=look.sigma)
    keypoints, described = detector.detectAndCompute(grey, None)
    if described is None or not keypoints:
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8)
    points = np.asarray([keypoint.pt for keypoint in keypoints], np.float32) + _MIDDLE
    frames = np.asarray([(keypoint.size, np.deg2rad(keypoint.angle)) for keypoint in keypoints], np.float32)
    sums = np.maximum(described.sum(axis=1, keepdims=True), 1e-6)
    roots = np.sqrt(np.asarray(described, np.float32) / sums)
    return points, frames, np.rint(np.minimum(_SCALE * roots, 255)).astype(np.uint8)


def _mirroring() -> NDArray[np.intp]:
    cells = np.arange(128).reshape(4, 4, 8)
    directions = [0, 7, 6, 5, 4, 3, 2, 1]
    return cells[::-1, :, directions].reshape(128)


_MIRROR = _mirroring()
