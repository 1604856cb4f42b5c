"""Bytes to checked pixels, to digests, to vectors: pure computing, no network and no files but the model's."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""ONNX Runtime, once imported, would keep figures of its use in a file of the user's and send them to its makers."""
