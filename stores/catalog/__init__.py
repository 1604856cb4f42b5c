"""The catalog: the record of every image and content, in SQL."""
