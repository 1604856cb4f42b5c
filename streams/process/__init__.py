"""The worker process: its parts, its consumers, its loops, its end."""
