"""Measurements. Each module runs on its own: `python -m bench.accuracy FOLDER`."""
