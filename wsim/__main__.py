"""`python -m wsim`."""

from wsim.cli import main

if __name__ == "__main__":
    main()
