"""A PPM as a judge of steps: what it is asked of which benchmark, and the figures from what it answered."""
