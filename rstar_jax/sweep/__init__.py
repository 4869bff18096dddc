"""A job at every point of a grid of its options, several seeds each, and one table of what that changed."""
