"""Models as pure functions of one flat parameter vector, one model a file."""
