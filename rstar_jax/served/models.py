"""The models that a server says it has, asked before hours of work and not after."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request

from rstar_jax.errors import UserError
from rstar_jax.served.address import Address
from rstar_jax.settings import nearest

_SECONDS = 20.0
_LISTED = 5


def require_model(address: Address, where: str) -> None:
    """Refuse a server that cannot be reached or does not have the model. where: the option that names it.

    A server that lists no models, or is still loading, is taken as it is. Raises UserError.
    """
    key = os.environ.get("OPENAI_API_KEY")
    request = urllib.request.Request(f"{address.base}/models")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SECONDS) as response:
            models = [str(model["id"]) for model in json.loads(response.read())["data"]]
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise UserError(
                f"{where}: {address.base} refuses to be asked ({error.code}). Give its key in the "
                "environment variable OPENAI_API_KEY."
            ) from error
        return
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        raise UserError(
            f"{where}: {address} given, but {address.base} cannot be reached ({why}). Start the server, or "
            "give the address that it prints when it starts."
        ) from error
    except (ValueError, KeyError, TypeError):
        return
    if models and address.model not in models:
        raise UserError(
            f"{where}: model '{address.model}' given, which {address.base} does not have. "
            f"{nearest(address.model, models[:_LISTED])}"
        )
