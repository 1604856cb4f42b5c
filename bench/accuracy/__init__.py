"""How well copies are found, and how far the verdicts can be trusted: `make accuracy PHOTOS=DIR`."""
