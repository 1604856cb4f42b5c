"""Bytes to checked pixels, to digests, to vectors: pure computing, no network and no files but the model's."""
