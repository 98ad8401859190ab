"""Semantic distributed learning: second moments of representations travel, models never do."""
