"""``python -m query_api.new_key NAME``: make an API key, and the line that goes into the settings."""

from __future__ import annotations

import secrets
import sys

from query_api.http.access import hash_of


def main(arguments: list[str]) -> int:
    """Print the key (to be given to its user; it is stored nowhere) and its hash."""
    if len(arguments) != 1 or not arguments[0].replace("-", "").replace("_", "").isalnum():
        print("usage: python -m query_api.new_key NAME", file=sys.stderr)  # noqa: T201 - a command
        return 2
    key = secrets.token_urlsafe(32)
    print(f"key:             {key}")  # noqa: T201 - a command
    print(f"api.key_hashes:  {arguments[0]}: {hash_of(key)}")  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
