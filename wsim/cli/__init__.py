"""The command line: `wsim` and `python -m wsim`."""

from wsim.cli.commands import app
from wsim.cli.execution import execute, main

__all__ = ["app", "execute", "main"]
