"""What `twinlens search` says of a hit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ops.search import print_hits, verdict_of
from ops.watch import floor_of, pretty
from schemas.messages import ImageChanged, NearestImage
from schemas.records import ImageState
from schemas.similarity import Verdict

_CHANGES = [{"kind": "mirrored", "value": 1.0}, {"kind": "cropped", "value": 0.5}, {"kind": "turned", "value": -90.0}]


@pytest.mark.parametrize(
    ("hit", "text"),
    [
        ({"verdict": "exact", "likely_copy": False, "verified": None}, "exact"),
        ({"verdict": "similar", "likely_copy": True, "verified": None}, "likely copy"),
        ({"verdict": "similar", "likely_copy": False, "verified": {"is_copy": False, "changes": []}}, "similar"),
        ({"verdict": "copy", "likely_copy": False, "verified": {"is_copy": True, "changes": []}}, "copy (verified)"),
        (
            {"verdict": "copy", "likely_copy": False, "verified": {"is_copy": True, "changes": _CHANGES}},
            "copy (verified: mirrored, 50% of the area, turned -90°)",
        ),
        ({"verdict": "copy"}, "copy"),
    ],
)
def test_verdicts_in_the_terminal(hit: dict[str, Any], text: str) -> None:
    """A verified copy says what was changed; an older service, which verifies nothing, is understood."""
    assert verdict_of(hit).plain == text


def _hit(key: str, *, weak: bool) -> dict[str, Any]:
    image = {"bucket": "pictures", "key": key, "width": 8, "height": 6}
    return {"image": image, "score": 12.0, "verdict": "similar", "likely_copy": False, "weak": weak}


def test_nothing_alike_is_said_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Weak matches are counted and left out, pictures that wait are counted, and where nothing is left it is said."""
    print_hits({"results": [_hit("noise.jpg", weak=True)], "floor": 20.0, "pending": 2})
    printed = " ".join(capsys.readouterr().out.split())
    assert "nothing like it was found" in printed
    assert "1 weak match left out (below 20" in printed
    assert "2 pictures wait to be indexed" in printed
    assert "noise.jpg" not in printed
    print_hits({"results": [_hit("sea.jpg", weak=False), _hit("noise.jpg", weak=True)], "floor": 20.0, "pending": 0})
    printed = " ".join(capsys.readouterr().out.split())
    assert "sea.jpg" in printed
    assert "nothing like it" not in printed
    assert "noise.jpg" not in printed
    assert "indexed" not in printed


@pytest.mark.parametrize(
    ("score", "verdict", "text"),
    [(12.0, Verdict.SIMILAR, "nothing alike"), (25.0, Verdict.SIMILAR, "looks like"), (12.0, Verdict.COPY, "copy of")],
)
def test_nothing_alike_is_said_of_a_change(score: float, verdict: Verdict, text: str) -> None:
    """The change stream names the nearest pictures however far they are; a line says whether that means anything."""
    near = NearestImage(image_id="1" * 32, bucket="pictures", key="other.jpg", score=score, verdict=verdict)
    change = ImageChanged(
        version=1, state=ImageState.INDEXED, image_id="0" * 32, bucket="pictures", key="a.jpg", nearest=(near,),
        occurred_at=datetime(2026, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    assert text in pretty(change, floor=20.0)
    assert ("other.jpg" in pretty(change, floor=20.0)) is (text != "nothing alike")


def test_watching_needs_no_model() -> None:
    """Where the model's spec is elsewhere, nothing is called weak; the models that come along have a floor."""
    assert floor_of("/nowhere/own.yaml") == 0.0
    assert 0 < floor_of("sscd") < floor_of("sscd_distilled") < 30
