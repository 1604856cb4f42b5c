"""The contracts of the Kafka topics as documents: JSON Schemas and an AsyncAPI 3 description, made from the models.

``python -m schemas.contracts`` writes them beside this file; a test fails while they are stale.
"""
