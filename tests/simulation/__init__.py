"""Runs of the real handlers over the in-memory ports, interleaved at random and with faults, then compared."""
