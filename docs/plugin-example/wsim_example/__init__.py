"""A learner and a codec for wsim."""
