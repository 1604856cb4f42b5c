"""Comparing two pictures, each an upload or an indexed image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from query_api.pictures.verification import Unverified, Verification, is_copy
from query_api.search.live_model import Model
from query_api.search.queries import Query
from query_api.search.verifying import Verifier
from schemas.similarity import Verdict, clamp_cosine, distance, judged, score


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two queries of one model relate; the same bytes are exact whatever their vectors say."""

    one: Query
    other: Query
    model: Model
    cosine: float
    verdict: Verdict
    verification: Verification
    likely: bool = False

    @property
    def score(self) -> float:
        """0 to 100."""
        return score(self.cosine)

    @property
    def distance(self) -> float:
        """0 to 4."""
        return distance(self.cosine)


async def compare(one: Query, other: Query, model: Model, verifier: Verifier | None) -> Comparison:
    """The relation of two queries of the model, verified where there is a verifier. Its score is symmetric."""
    verification = await verifier.pair(one, other) if verifier else Unverified.NOT_ASKED
    if one.sha256 is not None and one.sha256 == other.sha256:
        return Comparison(one, other, model, 1.0, Verdict.EXACT, verification)
    cosine = clamp_cosine(float(np.dot(one.vector, other.vector)))
    [said] = judged([score(cosine)], [is_copy(verification)], model.copy_threshold, verifying=verifier is not None)
    return Comparison(one, other, model, cosine, said.verdict, verification, said.likely)
