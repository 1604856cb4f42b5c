"""Asking a server's health address."""

from __future__ import annotations

import urllib.error
import urllib.request


def answers_ok(url: str) -> bool:
    """Whether GET `url` answers 200 within two seconds."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
