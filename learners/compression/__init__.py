"""Codecs: what a payload becomes on the air, one codec a file."""
