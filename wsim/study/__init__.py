"""Studies: every arm of a scenario at every point of its axes with every seed, as runs, tables and pictures."""
