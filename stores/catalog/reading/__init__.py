"""Reading the catalog for the query service: ports of its own, and their SQL adapter. Nothing here writes."""
