"""`twinlens duplicates` on the real stack."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import httpx

from ops.copies import TRANSFORMS
from tests.harness.command_line import twinlens
from tests.harness.live import Live, until
from tests.harness.pictures import picture


def duplicates(live: Live, folder: Path, *options: str) -> str:
    """What the command prints."""
    done = twinlens("duplicates", "--bucket", live.bucket, *options, environment=live.environment, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_exact_and_near_groups_are_listed(live: Live, gallery: list[Path], api: httpx.Client, tmp_path: Path) -> None:
    """The same bytes under two keys are an exact group, a picture and its small copy a near one, also verified."""
    data, original = picture(9600), gallery[60].read_bytes()
    pictures = {"a.png": data, "b.png": data, "big.jpg": original, "small.jpg": TRANSFORMS["half-size"](original)}
    for name, content in pictures.items():
        live.put(f"double/{name}", content)
    counting = {"prefix": "double/", "state": "indexed", "count": "true"}
    until(lambda: api.get("/v1/images", params=counting).json()["total"] == len(pictures), "all are indexed")
    exact = [json.loads(line) for line in duplicates(live, tmp_path, "--json").splitlines()]
    assert {"double/a.png", "double/b.png"} in [{image["key"] for image in group["images"]} for group in exact]
    for options in (["--near"], ["--near", "--verify"]):
        rows = list(csv.DictReader(io.StringIO(duplicates(live, tmp_path, *options, "--csv"))))
        [group] = {row["group"] for row in rows if row["key"] == "double/small.jpg"}
        assert "double/big.jpg" in {row["key"] for row in rows if row["group"] == group}
    for name in pictures:
        live.delete(f"double/{name}")
