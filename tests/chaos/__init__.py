"""The chaos run: everything is killed at random while objects change, and nothing may be lost or wrong in the end."""
