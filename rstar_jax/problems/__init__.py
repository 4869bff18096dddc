"""The embedded suite of problems and its worked solutions. Host side, never jax."""
