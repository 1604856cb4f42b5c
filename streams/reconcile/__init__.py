"""Comparing bucket, catalog and vectors, and healing what differs by hints on the same topics."""
