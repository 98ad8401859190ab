"""Algorithms without a server, one a file."""
