"""The page in a browser: what a person does there, what it says of itself, and proxies before it."""
