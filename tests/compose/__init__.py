"""`make proof-compose`: the real docker-compose.yaml on a real Docker engine."""
