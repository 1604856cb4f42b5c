"""From contents to the vector index."""
