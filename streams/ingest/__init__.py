"""From bucket events to the catalog."""
