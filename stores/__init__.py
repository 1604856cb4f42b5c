"""The ports to the outside world and their adapters: objects, catalog, vectors, broker."""
