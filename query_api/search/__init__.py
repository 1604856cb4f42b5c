"""Searching, verifying, comparing and grouping: the handlers behind the routes."""
