"""Kafka: sending messages."""
