"""The query service over in-memory ports, with a cheap embedder."""
