"""Errors that a server reports: what it says, when to ask again, and what they mean for good."""

from __future__ import annotations

import email.utils
import time

import aiohttp

from rstar_jax.served.address import Address
from rstar_jax.served.dialect import too_long
from rstar_jax.served.stream import Refusal, message_of


def refusal_of(response: aiohttp.ClientResponse, text: str) -> Refusal:
    """Read an error out of a response and its text."""
    pause = _seconds(response.headers.get("Retry-After", ""))
    return Refusal(response.status, message_of(text) or response.reason or "", pause)


def _seconds(header: str) -> float:
    """Retry-After, "120" or a date, in seconds from now; 0 where it says nothing."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def final(address: Address, error: Refusal) -> str:
    """Say what a refusal for good means and what to do."""
    what = f"{address.base} refused a request to model '{address.model}' ({error.status}: {error})."
    if error.status in (401, 403):
        return f"{what} Give its key in the environment variable OPENAI_API_KEY."
    if error.status in (404, 405):
        return (
            f"{what} Give the address up to /v1, http://HOST:PORT/v1#MODEL, and a model that it serves (curl "
            f"{address.base}/models lists them)."
        )
    if too_long(str(error)):
        return f"{what} Serve it with a longer context, or lower --config.decode.max_step_tokens."
    return f"{what} Look at the server's log for what it expects."
