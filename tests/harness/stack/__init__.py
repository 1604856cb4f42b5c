"""The real servers that the tests and `make stack` run against, started without Docker."""
