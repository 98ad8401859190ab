"""`python -m wsim`."""

from wsim.cli import main

main()
