"""Data sets as numpy arrays, one a file, and the ways to divide them between devices."""
