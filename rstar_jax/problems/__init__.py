"""Sources of problems: the embedded suite and JSONL files. Host side, never jax."""
