"""HTTP routes: each decodes a request, calls a handler and shapes the answer."""
