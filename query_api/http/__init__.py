"""What a request and an answer are allowed to be: access, limits, errors, headers."""
