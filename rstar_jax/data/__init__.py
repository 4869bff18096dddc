"""Problems and solutions from files and sets of others. Host side, never jax."""
