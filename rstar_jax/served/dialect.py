"""What servers differ in: parameters that one takes and another refuses, and how they word their refusals.

A request first holds every parameter below. One that the server refuses by name is left out from then on:

    n                               how many continuations; else each is a request
    seed, top_p, logprobs           as OpenAI has them
    stop                            left out, too, where a server hides which stop it met: then all texts are
                                    cut here, and the connection is closed
    stream_options                  asks for the numbers of tokens
    include_stop_str_in_output, skip_special_tokens, spaces_between_special_tokens      vLLM
    no_stop_trim                                                                        SGLang

Without `skip_special_tokens` vLLM and SGLang leave out stops that are special tokens of the model.
"""

from __future__ import annotations

import re
from typing import Any

from rstar_jax.served.requests import CompletionRequest

_EXTRAS: dict[str, Any] = {
    "logprobs": 1,
    "stream_options": {"include_usage": True},
    "include_stop_str_in_output": True,
    "no_stop_trim": True,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
}
_MAY_LACK = ("n", "seed", "top_p", "stop", *_EXTRAS)
# takes "'n' is not supported" and "n must be 1", not "a token"
_N = re.compile(r"[\"'`]n[\"'`]|\bn\s*(?:>|=|must|should|is not)")
# takes "maximum context length is 4096 tokens", "`inputs` tokens + `max_new_tokens` must be <= 4096"
_TOO_LONG = re.compile(
    r"context (?:length|size|window)|max_(?:new_|completion_|total_)?tokens|too long", re.IGNORECASE
)


class Dialect:
    """Ways of one server, as far as they are known. dropped: parameters that it is not sent. tells: whether
    it says which stop ended a text; None while that is not known."""

    def __init__(self) -> None:
        self.dropped: set[str] = set()
        self.tells: bool | None = None

    @property
    def one_at_a_time(self) -> bool:
        """Return whether a request has one continuation."""
        return "n" in self.dropped

    def body(
        self, model: str, request: CompletionRequest, count: int, seed: int, top_p: float
    ) -> dict[str, Any]:
        """Make the JSON object that asks for `count` continuations."""
        body = {
            "model": model,
            "prompt": request.prompt,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stream": True,
            "n": count,
            "top_p": top_p,
            "seed": seed,
            "stop": list(request.stops),
            **_EXTRAS,
        }
        return {name: value for name, value in body.items() if name not in self.dropped}

    def refused(self, message: str, sent: dict[str, Any]) -> bool:
        """Leave out what a refusal names of a request that was sent. Return whether the request may be sent
        again, in a form that differs."""
        self.dropped |= {name for name in _MAY_LACK if name in sent and _names(message, name)}
        return any(name in self.dropped for name in sent)


def _names(message: str, name: str) -> bool:
    if name == "n":
        return bool(_N.search(message))
    return bool(re.search(rf"(?<!\w){name}(?!\w)", message))


def too_long(message: str) -> bool:
    """Return whether a refusal says that prompt and continuation do not fit the model's context."""
    return bool(_TOO_LONG.search(message))
