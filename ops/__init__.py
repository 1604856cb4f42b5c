"""What an operator runs: the ``twinlens`` command and the embedded stack."""
