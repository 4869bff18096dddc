"""Policies behind a server: any OpenAI-compatible completions endpoint as a queue, like the engine.

It does not start servers, batch texts or know tasks: prompts and stops in, texts out (`policy.ServedPolicy`,
which alone imports aiohttp).
"""

from rstar_jax.served.address import Address, is_served, parse
from rstar_jax.served.requests import CompletionRequest, Continuation
from rstar_jax.served.settings import ServedConfig

__all__ = ["Address", "CompletionRequest", "Continuation", "ServedConfig", "is_served", "parse"]
