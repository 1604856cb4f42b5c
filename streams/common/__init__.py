"""What all handlers stand on: ports, checkpoints, back-off, metrics."""
