"""`twinlens models`: what can be done with a model's spec and network, away from the running system."""
