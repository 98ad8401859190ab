"""Algorithms with a server, one a file."""
