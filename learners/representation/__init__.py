"""What devices' representations are worth to themselves and to each other, measured by a genie."""
