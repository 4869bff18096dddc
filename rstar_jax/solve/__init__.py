"""One question, its search watched, its answer with what supports it."""
