"""Address of a served model: http://HOST:PORT/v1#MODEL."""

from __future__ import annotations

import dataclasses
import urllib.parse

from rstar_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Address:
    """base: the endpoint's URL without a slash at its end, to which "/completions" is added. model: the name
    that the server knows the model by."""

    base: str
    model: str

    @property
    def name(self) -> str:
        """The model's name, as a folder has one."""
        return self.model

    def __str__(self) -> str:
        return f"{self.base}#{self.model}"


def is_served(spec: str) -> bool:
    """Return whether a model is named by the address of its server."""
    return spec.startswith(("http://", "https://"))


def parse(spec: str, option: str) -> Address:
    """Read http://HOST:PORT/v1#MODEL. Raises UserError that names the option."""
    url, _, model = spec.partition("#")
    parts = urllib.parse.urlsplit(url)
    if parts.username is not None or parts.password is not None:  # not repeated: it would stand in logs
        raise UserError(
            f"{option}: an address with a user or password given. Leave it out, and give the server's key in "
            "the environment variable OPENAI_API_KEY, which is never written anywhere."
        )
    try:
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        port_is_one = False
    if not (parts.hostname and port_is_one and model) or parts.query:
        missing = "no model named" if parts.hostname and port_is_one and not model else "no such address"
        raise UserError(
            f"{option}: '{spec}' given ({missing}), http://HOST:PORT/v1#MODEL expected: the address of an "
            "OpenAI-compatible server, such as vLLM, SGLang or TGI, and the model's name there "
            "(curl HOST:PORT/v1/models lists it)."
        )
    return Address(url.rstrip("/"), model)
