"""The text of solutions: the step grammar, the prompts and the tokenizer. Text only, never jax."""
