"""The write side: Faust agents and the handlers that make the catalog and the index agree with the bucket."""
