"""Comparing two pictures, each an upload or an indexed image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from query_api.live_model import Model
from query_api.queries import Query
from schemas.similarity import Verdict, clamp_cosine, distance, score, verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two pictures relate; the same bytes are exact whatever their vectors say."""

    cosine: float
    verdict: Verdict

    @property
    def score(self) -> float:
        """0 to 100."""
        return score(self.cosine)

    @property
    def distance(self) -> float:
        """0 to 4."""
        return distance(self.cosine)


def compare(one: Query, other: Query, model: Model) -> Comparison:
    """The relation of two queries of one model. It is symmetric."""
    same_bytes = one.sha256 is not None and one.sha256 == other.sha256
    cosine = 1.0 if same_bytes else clamp_cosine(float(np.dot(one.vector, other.vector)))
    return Comparison(cosine, verdict(score(cosine), same_bytes=same_bytes, copy_threshold=model.copy_threshold))
