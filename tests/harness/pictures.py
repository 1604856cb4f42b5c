"""Small pictures for tests, each number another one."""

from __future__ import annotations

import io
import random

from PIL import Image


def picture(number: int, *, side: int = 32) -> bytes:
    """A PNG of a few coloured blocks; the same number always gives the same bytes."""
    chance = random.Random(number)
    blocks = Image.new("RGB", (4, 4))
    blocks.putdata([tuple(chance.randrange(256) for _ in range(3)) for _ in range(16)])
    buffer = io.BytesIO()
    blocks.resize((side, side), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()
