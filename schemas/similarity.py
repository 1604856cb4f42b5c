"""The similarity scale: from the cosine of two embeddings to a distance, a score and a verdict."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """How two pictures relate."""

    EXACT = "exact"
    COPY = "copy"
    SIMILAR = "similar"


def clamp_cosine(cosine: float) -> float:
    """The cosine within [-1, 1]; rounding in the vector index can leave it a little outside."""
    return max(-1.0, min(1.0, cosine))


def distance(cosine: float) -> float:
    """Squared Euclidean distance of two unit vectors, 0 to 4: ``2 - 2c`` (the predecessor's distance)."""
    return 2.0 - 2.0 * clamp_cosine(cosine)


def score(cosine: float) -> float:
    """0 to 100: ``100 * max(0, c)``, the predecessor's ``(2 - distance) / 2 * 100`` without its negatives."""
    return 100.0 * max(0.0, clamp_cosine(cosine))


def verdict(score: float, *, same_bytes: bool, copy_threshold: float) -> Verdict:
    """``exact`` for the same SHA-256, ``copy`` from the model's copy threshold (a score) on, else ``similar``."""
    if same_bytes:
        return Verdict.EXACT
    return Verdict.COPY if score >= copy_threshold else Verdict.SIMILAR
