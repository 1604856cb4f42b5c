"""The embedded stack: everything that `twinlens up` starts on one machine, without containers."""
