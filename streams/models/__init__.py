"""Which models are served, and switching to another."""
